// The driver's own bytes against the golden ones in abi/vectors, which the Python tests decode.
//
// With PM_WRITE_VECTORS set the files are written instead: only for a new ABI version.
#include "machine.h"

#ifndef VECTORS
#define VECTORS "abi/vectors"
#endif

static void
path_of(const char* name, char* path, size_t size)
{
    const char* root = getenv("PM_ROOT");

    (void)snprintf(path, size, "%s/%s/%s.hex", root == NULL ? "." : root, VECTORS, name);
}

static void
compare(const char* name, const void* bytes, size_t size)
{
    char path[512];
    FILE* file;

    path_of(name, path, sizeof(path));
    file = fopen(path, getenv("PM_WRITE_VECTORS") == NULL ? "r" : "w");
    CHECK(file != NULL);
    for (size_t i = 0; file != NULL && i < size; i++) {
        unsigned byte = 0x100;
        if (getenv("PM_WRITE_VECTORS") != NULL) {
            (void)fprintf(file, "%02x%s", ((const uint8_t*)bytes)[i], i % 32 == 31 || i + 1 == size ? "\n" : " ");
            continue;
        }
        if (fscanf(file, "%x", &byte) != 1 || byte != ((const uint8_t*)bytes)[i]) {
            printf("# %s: byte %zu is %02x, golden %02x\n", name, i, ((const uint8_t*)bytes)[i], byte);
            CHECK_EQUAL(byte, ((const uint8_t*)bytes)[i]);
            break;
        }
    }
    if (file != NULL) {
        unsigned more;
        CHECK(getenv("PM_WRITE_VECTORS") != NULL || fscanf(file, "%x", &more) != 1);
        (void)fclose(file);
    }
}

static void
compare_context(const char* name, sim_connect_request request)
{
    pm_redirect_context context;
    sim_connect_result result = run_connect(request);

    CHECK(result.redirected);
    CHECK_EQUAL(sim_flow_context(result.flow, &context, sizeof(context)), sizeof(context));
    compare(name, &context, sizeof(context));
    sim_flow_close(result.flow);
}

TEST(the_bytes_of_the_contract_have_not_changed)
{
    pm_register_request request = register_request();
    pm_register_reply reply;
    pm_registration_request renewal = {{sizeof(renewal), PM_ABI_VERSION}, 1, 0};
    pm_version_reply version;
    pm_status_reply status;
    pm_events_request events_request = {{sizeof(events_request), PM_ABI_VERSION}, 2};
    pm_events_reply* events = malloc(sizeof(*events));
    uint32_t written = 0;

    machine_start(NULL);
    CHECK_EQUAL(
        sim_ioctl(machine_file, PROXY, PM_IOCTL_QUERY_VERSION, NULL, 0, &version, sizeof(version), &written),
        STATUS_SUCCESS);
    compare("version_reply", &version, written);
    request.lease_ms = 2500;
    compare("register_request", &request, sizeof(request));
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_SUCCESS);
    compare("register_reply", &reply, sizeof(reply));
    compare("registration_request", &renewal, sizeof(renewal));
    add_redirect_filters(reply.registration);
    add_block_filters(reply.registration, 9);
    sim_advance(1000 * 10000ull);
    compare_context("redirect_context_v4", connect_v4(203, 0, 113, 7, 443));
    compare_context("redirect_context_v6", connect_v6((uint8_t[16]){0x20, 0x01, 0x0D, 0xB8, [15] = 7}, 8443));
    compare_context("redirect_context_mapped", connect_v6((uint8_t[16]){[10] = 255, 255, 203, 0, 113, 7}, 443));
    CHECK(run_connect(connect_v4(10, 1, 2, 3, 80)).blocked);
    status = machine_status();
    compare("status_reply", &status, sizeof(status));
    compare("events_request", &events_request, sizeof(events_request));
    CHECK_EQUAL(
        sim_ioctl(machine_file, PROXY, PM_IOCTL_READ_EVENTS, &events_request, sizeof(events_request), events,
                  sizeof(*events), &written),
        STATUS_SUCCESS);
    compare("events_reply", events, written);
    free(events);
    machine_stop();
}
