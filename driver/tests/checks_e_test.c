// The reference's checklist (wfp-kernel.md 9.2), E: loading and unloading.  Adapted: the driver's own objects are static and it has no
// filters; those are the proxy's.
#include <pthread.h>

#include "redirecting.h"

TEST(e1_provider_sublayer_and_four_callouts_come_in_one_transaction)
{
    machine_start(NULL);
    CHECK_EQUAL(sim_object_count(), 6);
    CHECK_EQUAL(machine_status().state, 15);
    machine_stop();
}

TEST(e2_and_e12_whatever_fails_at_load_is_reported_and_undone)
{
    uint32_t reported = 0, refused = 0;

    for (uint32_t nth = 1; nth < 40; nth++) {
        sim_boot(NULL);
        sim_fail_call(nth);
        NTSTATUS status = sim_load_driver(DriverEntry); // aborts if it fails and leaves anything
        uint32_t calls = sim_calls();
        sim_fail_call(0);
        machine_processes();
        if (!NT_SUCCESS(status)) {
            refused++;
            CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS); // a retry works
        } else if (calls >= nth) {
            pm_status_reply reply;
            CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
            reply = machine_status();
            CHECK(reply.state != 15); // what is missing is said, with its status
            CHECK((reply.notify_status | reply.redirect_status | reply.object_status) != 0);
            CHECK_EQUAL(reply.state & PM_STATE_OBJECTS ? 6 : 0, sim_object_count()); // all or nothing
            sim_close(machine_file);
            reported++;
        }
        sim_unload_driver();
        CHECK_EQUAL(sim_object_count(), 0);
        sim_shutdown();
    }
    CHECK(refused >= 8 && reported >= 8);
}

TEST(e3_the_first_error_is_the_one_that_is_kept)
{
    sim_boot(NULL);
    sim_fail_call_and_abort(1); // the first filter engine call in a transaction fails, and so does the abort
    CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
    sim_fail_call(0);
    machine_processes();
    CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
    CHECK_EQUAL((NTSTATUS)machine_status().object_status, STATUS_INSUFFICIENT_RESOURCES);
    machine_engine = NULL;
    machine_stop();
}

TEST(e4_objects_of_an_earlier_load_are_as_good_as_new)
{
    machine_start(NULL); // adapted: static objects are meant to be found again
    add_redirect_filters(register_pid(machine_file, PROXY));
    sim_close(machine_file);
    sim_unload_driver(); // the proxy's filters keep the callouts and the sublayer
    CHECK_EQUAL(sim_object_count(), 6); // two filters, their callouts, sublayer, provider: the rest could go
    CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
    CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
    CHECK_EQUAL(machine_status().state, 15);
    CHECK_EQUAL(register_pid(machine_file, PROXY), 1); // the same number as before, so the filters speak again
    CHECK(is_redirected());
    machine_stop();
}

TEST(e5_and_e6_objects_follow_the_filter_engines_state)
{
    sim_knobs knobs = {.acquire_sets_block = 1, .bfe_stopped = 1};

    machine_start(&knobs);
    CHECK_EQUAL(sim_object_count(), 0);
    for (int i = 0; i < 3; i++) {
        sim_bfe_start();
        CHECK_EQUAL(sim_object_count(), 6);
        CHECK_EQUAL(machine_status().state, 15);
        sim_bfe_stop();
        CHECK_EQUAL(machine_status().state & PM_STATE_OBJECTS, 0);
    }
    machine_stop();
}

TEST(e7_filters_without_their_callout_let_everything_pass)
{
    sim_connect_result result;
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    add_block_filters(registration, 5);
    sim_close(machine_file);
    sim_unload_driver();
    sim_connect(&request, &result);
    CHECK(!result.blocked && !result.redirected);
    sim_shutdown();
}

TEST(e8_unload_waits_through_busy_twice_and_in_use_for_the_same_callout)
{
    static const NTSTATUS answers[] = {STATUS_DEVICE_BUSY, STATUS_DEVICE_BUSY, STATUS_FWP_IN_USE};

    start_redirecting(NULL);
    sim_close(machine_file);
    uint64_t before = sim_now();
    sim_fail_call(0);
    sim_unregister_answers(answers, 3);
    sim_unload_driver(); // simwfp aborts if a function is left registered, or the link or device was deleted too early
    CHECK_EQUAL(sim_now() - before, 3 * 10 * 10000); // three waits of 10 ms, and no more
    CHECK_EQUAL(sim_object_count(), 6); // the proxy's two filters and what they name; the two other callouts could go
    sim_shutdown();
}

TEST(e8_no_other_answer_makes_unload_leave_a_callout_behind)
{
    static const NTSTATUS answers[] = {STATUS_INSUFFICIENT_RESOURCES, STATUS_FWP_TCPIP_NOT_READY, STATUS_UNSUCCESSFUL,
                                       STATUS_FWP_TIMEOUT, STATUS_DEVICE_BUSY};

    start_redirecting(NULL);
    sim_close(machine_file);
    uint64_t before = sim_now();
    sim_unregister_answers(answers, 5);
    sim_unload_driver();
    CHECK_EQUAL(sim_now() - before, 5 * 10 * 10000);
    sim_shutdown();
}

TEST(e8_and_e9_unload_waits_until_every_callout_is_gone)
{
    for (uint32_t nth = 1; nth <= 5; nth++) {
        start_redirecting(NULL);
        sim_close(machine_file);
        sim_fail_call(nth); // DEVICE_BUSY once; simwfp aborts if a function is left registered
        sim_unload_driver();
        CHECK(sim_calls() >= nth);
        sim_fail_call(0);
        sim_shutdown();
    }
    start_redirecting(NULL);
    sim_close(machine_file);
    GUID key = PM_CALLOUT_AUTH_CONNECT_V6;
    CHECK_EQUAL(FwpsCalloutUnregisterByKey0(&key), STATUS_SUCCESS); // somebody was faster: CALLOUT_NOT_FOUND is done
    sim_unload_driver();
    sim_shutdown();
}

static volatile int in_classify, may_leave;

static void
stay(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* data,
    const void* context, const FWPS_FILTER2* filter, UINT64 flow, FWPS_CLASSIFY_OUT0* out)
{
    (void)values, (void)metadata, (void)data, (void)context, (void)filter, (void)flow;
    out->actionType = FWP_ACTION_CONTINUE;
    in_classify = 1;
    while (!may_leave) {
    }
}

static void*
connect_once(void* unused)
{
    sim_connect_request request = to_public();
    sim_connect_result result;

    (void)unused;
    sim_connect(&request, &result);
    sim_flow_close(result.flow);
    return NULL;
}

static void*
release_soon(void* unused)
{
    (void)unused;
    for (volatile int i = 0; i < 20000000; i++) { // the unload is waiting by then, or has been; either way it must be safe
    }
    may_leave = 1;
    return NULL;
}

TEST(e10_unload_waits_for_a_classify_in_flight)
{
    HANDLE engine;
    UINT32 id;
    pthread_t connecting, releasing;

    start_redirecting(NULL);
    in_classify = may_leave = 0;
    id = other_product(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, stay, &engine); // holds the connect inside the engine
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS); // its objects are static
    CHECK_EQUAL(pthread_create(&connecting, NULL, connect_once, NULL), 0);
    while (!in_classify) {
    }
    CHECK_EQUAL(pthread_create(&releasing, NULL, release_soon, NULL), 0);
    sim_close(machine_file);
    sim_unload_driver();
    CHECK(may_leave); // it has returned only after the classify had
    CHECK_EQUAL(pthread_join(connecting, NULL), 0);
    CHECK_EQUAL(pthread_join(releasing, NULL), 0);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    no_other_product(id, engine);
    sim_shutdown();
}

TEST(e11_without_process_notification_the_driver_loads_and_refuses_registrations)
{
    int seen = 0;

    for (uint32_t nth = 1; nth < 16; nth++) {
        pm_register_request request = register_request();
        pm_register_reply reply;

        sim_boot(NULL);
        sim_fail_call(nth);
        NTSTATUS status = sim_load_driver(DriverEntry);
        sim_fail_call(0);
        if (!NT_SUCCESS(status)) {
            sim_shutdown();
            continue;
        }
        machine_processes();
        CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
        if (machine_status().notify_status != 0) {
            seen++;
            CHECK_EQUAL((NTSTATUS)machine_status().notify_status, STATUS_ACCESS_DENIED);
            CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_DEVICE_NOT_READY);
        }
        machine_engine = NULL;
        machine_stop();
    }
    CHECK_EQUAL(seen, 1);
}

TEST(e13_a_hundred_loads_with_traffic_leave_nothing)
{
    for (int i = 0; i < 100; i++) {
        start_redirecting(NULL);
        CHECK(is_redirected());
        machine_stop(); // aborts on a leak
    }
}
