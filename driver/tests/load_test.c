// Load and unload: whatever fails, nothing stays behind, and the next load works.
#include "machine.h"

TEST(whatever_call_fails_at_load_nothing_is_left_and_a_retry_works)
{
    uint32_t failed = 0;

    for (uint32_t nth = 1;; nth++) {
        sim_boot(NULL);
        sim_fail_call(nth);
        NTSTATUS status = sim_load_driver(DriverEntry); // checks itself that nothing is left when it fails
        uint32_t calls = sim_calls();
        sim_fail_call(0);
        if (NT_SUCCESS(status)) {
            sim_unload_driver();
        } else {
            failed++;
            CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
            sim_unload_driver();
        }
        CHECK_EQUAL(sim_object_count(), 0);
        sim_shutdown();
        if (calls < nth) {
            break;
        }
    }
    CHECK(failed >= 8);
}

TEST(whatever_call_fails_at_unload_the_driver_is_gone_afterwards)
{
    for (uint32_t nth = 1;; nth++) {
        sim_boot(NULL);
        CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
        sim_fail_call(nth);
        sim_unload_driver();
        uint32_t calls = sim_calls();
        sim_fail_call(0);
        sim_shutdown();
        if (calls < nth) {
            break;
        }
    }
}

TEST(objects_appear_when_the_filter_engine_starts_and_again_when_it_restarts)
{
    sim_knobs knobs = {.acquire_sets_block = 1, .bfe_stopped = 1};

    machine_start(&knobs);
    CHECK_EQUAL(machine_status().state & PM_STATE_OBJECTS, 0);
    CHECK_EQUAL(machine_status().state & PM_STATE_CALLOUTS, PM_STATE_CALLOUTS);
    sim_bfe_start();
    CHECK_EQUAL(machine_status().state, 15);
    CHECK_EQUAL(sim_object_count(), 6);
    uint32_t registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
    CHECK(is_redirected());
    sim_bfe_stop();
    machine_engine = NULL; // its session died with the engine
    CHECK_EQUAL(machine_status().state & PM_STATE_OBJECTS, 0);
    CHECK(!is_redirected());
    sim_bfe_start();
    CHECK_EQUAL(sim_object_count(), 6);
    CHECK_EQUAL(machine_status().active_registration, registration); // the configuration stays
    add_redirect_filters(registration);
    CHECK(is_redirected());
    machine_stop();
}

TEST(a_hundred_loads_with_traffic_leave_nothing)
{
    for (int i = 0; i < 100; i++) {
        machine_start(NULL);
        add_redirect_filters(register_pid(machine_file, PROXY));
        CHECK(is_redirected());
        machine_stop();
    }
}

TEST(the_proxys_death_ends_registration_and_filters_in_any_order)
{
    for (int close_first = 0; close_first <= 1; close_first++) {
        sim_file* looker;
        pm_status_reply status;
        uint32_t written;

        machine_start(NULL);
        CHECK_EQUAL(sim_open(APP, 1, NULL, &looker), STATUS_SUCCESS);
        add_redirect_filters(register_pid(machine_file, PROXY));
        CHECK(is_redirected());
        if (close_first) {
            sim_cleanup(machine_file, PROXY);
            CHECK(!is_redirected());
        }
        sim_process_exit(PROXY); // rundown closes its filter engine session
        machine_engine = NULL;
        CHECK(!is_redirected());
        CHECK_EQUAL(sim_object_count(), 6);
        CHECK_EQUAL(
            sim_ioctl(looker, APP, PM_IOCTL_STATUS, NULL, 0, &status, sizeof(status), &written), STATUS_SUCCESS);
        CHECK_EQUAL(status.active_registration, 0);
        CHECK_EQUAL(status.counters[PM_COUNTER_OWNER_EXITED] + status.counters[PM_COUNTER_OWNER_CLOSED], 1);
        sim_close(looker);
        machine_stop();
    }
}
