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

static const entry_point entry_points[] = {
    {"classify at CONNECT_REDIRECT", redirect, 3}, {"classify at AUTH_CONNECT", authorize, 0},
    {"REGISTER", do_register, 0}, {"RENEW", do_renew, 0}, {"WITHDRAW", do_withdraw, 0},
    {"QUERY_VERSION", do_query, 0}, {"STATUS", do_status, 0}, {"READ_EVENTS", do_events, 0},
    {"process notification", process_starts_and_exits, 0}, {"exit of an owner", owner_exits, 0},
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
