// Classify in eight threads while registrations come and go: every redirect must fit one published configuration whole.
#include <pthread.h>

#include "machine.h"

#define THREADS 8
#define CONNECTS 3000

static volatile int torn;

static void*
connects(void* unused)
{
    (void)unused;
    for (int i = 0; i < CONNECTS; i++) {
        sim_connect_request request = connect_v4(203, 0, 113, (uint8_t)i, 443);
        sim_connect_result result;

        sim_connect(&request, &result);
        // Endpoint 127.0.0.N has port 20000 + N: any other pair is a mixture of two configurations.
        if (result.blocked || (result.redirected && result.remote_port != 20000 + result.remote_address[3])) {
            torn = 1;
        }
        sim_flow_close(result.flow);
    }
    return NULL;
}

TEST(a_storm_of_registrations_never_tears_a_redirect)
{
    pthread_t threads[THREADS];
    pm_register_request request = register_request();
    pm_register_reply reply;

    machine_start(NULL);
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_SUCCESS);
    add_redirect_filters(reply.registration);
    request.endpoints.v4_address[3] = 1;
    request.endpoints.v4_port = 20001;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_SUCCESS);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(pthread_create(&threads[i], NULL, connects, NULL), 0);
    }
    for (uint32_t n = 0; n < 5000; n++) {
        request.endpoints.v4_address[3] = (uint8_t)(1 + n % 200);
        request.endpoints.v4_port = (uint16_t)(20000 + request.endpoints.v4_address[3]);
        CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_SUCCESS);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    }
    CHECK(!torn);
    CHECK(counter(PM_REASON_REDIRECTED) > 0);
    machine_stop();
}
