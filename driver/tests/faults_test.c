// Every entry point, once for each call in it that can fail: nothing leaks, nothing is blocked by accident, and it works afterwards.
#include "machine.h"

static uint32_t registration;

typedef struct entry_point {
    const char* name;
    int (*run)(void); // 1: it did what it should, 0: it failed as a whole
    uint32_t least;   // calls that can fail: fewer would mean that the test has lost its grip
} entry_point;

static int
redirect(void)
{
    sim_connect_result result = run_connect(connect_v4(203, 0, 113, 7, 443));

    CHECK(!result.blocked);
    sim_flow_close(result.flow);
    return (int)result.redirected;
}

static int
authorize(void)
{
    return (int)run_connect(connect_v4(10, 0, 0, 1, 443)).blocked;
}

static int
do_register(void)
{
    pm_register_request request = register_request();
    pm_register_reply reply;

    return NT_SUCCESS(register_with(machine_file, PROXY, &request, &reply));
}

static int
do_renew(void)
{
    return NT_SUCCESS(registration_ioctl(machine_file, PROXY, PM_IOCTL_RENEW, registration));
}

static int
do_withdraw(void)
{
    return NT_SUCCESS(registration_ioctl(machine_file, PROXY, PM_IOCTL_WITHDRAW, registration));
}

static int
do_query(void)
{
    pm_version_reply reply;
    uint32_t written;

    return NT_SUCCESS(
        sim_ioctl(machine_file, PROXY, PM_IOCTL_QUERY_VERSION, NULL, 0, &reply, sizeof(reply), &written));
}

static int
do_status(void)
{
    return machine_status().header.size == sizeof(pm_status_reply);
}

static int
do_events(void)
{
    static pm_events_reply reply;
    pm_events_request request = {{sizeof(request), PM_ABI_VERSION}, 0};
    uint32_t written;

    return NT_SUCCESS(
        sim_ioctl(machine_file, PROXY, PM_IOCTL_READ_EVENTS, &request, sizeof(request), &reply, sizeof(reply), &written));
}

static int
process_starts_and_exits(void)
{
    sim_process_start(9200, APP, 1, NULL, 0);
    sim_process_exit(9200);
    return 1;
}

static int
owner_exits(void)
{
    sim_file* file;

    sim_process_start(9300, APP, 1, NULL, 0);
    CHECK_EQUAL(sim_open(9300, 3, NULL, &file), STATUS_SUCCESS);
    (void)register_pid(file, 9300);
    sim_process_exit(9300);
    CHECK_EQUAL(sim_process_references(9300), 0);
    sim_close(file);
    return 1;
}

static int
opens_and_closes(void)
{
    sim_file* file;

    CHECK_EQUAL(sim_open(APP, 1, NULL, &file), STATUS_SUCCESS);
    sim_close(file);
    return 1;
}

// The filter engine restarts: the driver's objects are added again, all of them or none.
static int
engine_restarts(void)
{
    sim_bfe_stop();
    machine_engine = NULL; // its session died with the engine
    sim_bfe_start();
    CHECK_EQUAL(sim_object_count(), machine_status().state & PM_STATE_OBJECTS ? 6 : 0);
    return (machine_status().state & PM_STATE_OBJECTS) != 0;
}

// notifyFn, for a filter that comes and one that goes.
static int
filter_comes_and_goes(void)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"test"}, .layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4,
                           .subLayerKey = PM_SUBLAYER};
    uint64_t id = 0;
    uint32_t error;

    filter.action.type = FWP_ACTION_CALLOUT_UNKNOWN;
    filter.action.calloutKey = PM_CALLOUT_AUTH_CONNECT_V4;
    error = sim_user_filter_add(machine_engine, &filter, &id);
    return error == 0 && sim_user_filter_delete(machine_engine, id) == 0;
}

static const entry_point entry_points[] = {
    {"classify at CONNECT_REDIRECT", redirect, 3}, {"classify at AUTH_CONNECT", authorize, 0},
    {"REGISTER", do_register, 0}, {"RENEW", do_renew, 0}, {"WITHDRAW", do_withdraw, 0},
    {"QUERY_VERSION", do_query, 0}, {"STATUS", do_status, 0}, {"READ_EVENTS", do_events, 0},
    {"process notification", process_starts_and_exits, 0}, {"exit of an owner", owner_exits, 0},
    {"CREATE, CLEANUP, CLOSE", opens_and_closes, 0}, {"the filter engine's state", engine_restarts, 9},
    {"notification of filters", filter_comes_and_goes, 2},
};

TEST(every_entry_point_survives_the_failure_of_each_call_in_it)
{
    for (size_t i = 0; i < sizeof(entry_points) / sizeof(entry_points[0]); i++) {
        uint32_t nth = 1, calls;

        do {
            sim_knobs knobs = {.acquire_sets_block = nth & 1, .block_at_redirect = 1};

            machine_start(&knobs);
            registration = register_pid(machine_file, PROXY);
            add_redirect_filters(registration);
            if (entry_points[i].run == authorize) {
                add_block_filters(registration, 3); // with a redirect rule for the same connect it would be a policy's mistake
            }
            sim_fail_call(nth);
            int did = entry_points[i].run();
            calls = sim_calls();
            sim_fail_call(0);
            CHECK(did == (calls < nth));
            CHECK_EQUAL(sim_live_allocations(), 0);
            CHECK_EQUAL(sim_open_handles(), 0);
            registration = register_pid(machine_file, PROXY); // works as ever
            machine_stop();                                   // aborts if a reference, handle or block is left
        } while (calls >= nth++);
        if (nth - 2 < entry_points[i].least) {
            printf("# %s: only %u calls\n", entry_points[i].name, nth - 2);
        }
        CHECK(nth - 2 >= entry_points[i].least);
    }
}

// DriverEntry and DriverUnload, call by call, and the abort of a transaction; load_test.c looks at what each failure leaves.
static void
load_and_unload(void)
{
    for (uint32_t nth = 1; nth < 128; nth++) {
        sim_boot(NULL);
        sim_fail_call(nth);
        NTSTATUS status = sim_load_driver(DriverEntry);
        sim_fail_call(0);
        if (!NT_SUCCESS(status)) {
            CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
        }
        sim_fail_call(nth);
        sim_unload_driver();
        sim_fail_call(0);
        sim_shutdown();
    }
    for (uint32_t nth = 1; nth < 16; nth++) {
        sim_boot(NULL);
        sim_fail_call_and_abort(nth);
        CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
        sim_fail_call(0);
        sim_unload_driver();
        CHECK_EQUAL(sim_object_count(), 0);
        sim_shutdown();
    }
}

// tests/native/test_c_programs.py compares the list with the driver's imports: a new one must be made to fail here.
TEST(every_call_that_can_fail_has_failed)
{
    load_and_unload();
    for (uint32_t i = 0; sim_failed_call(i) != NULL; i++) {
        printf("# failed %s\n", sim_failed_call(i));
    }
}
