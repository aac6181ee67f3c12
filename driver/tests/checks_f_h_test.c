// The reference's checklist (wfp-kernel.md 9.2), F and H: who owns a registration, what is built.  G: checks_g_test.c.
// Adapted throughout (architecture.md 3): four registrations, newest first; an older one comes back instead of being refused, and SET_CONFIG,
// CLEAR and exempt slots are REGISTER, WITHDRAW and registrations.
#include "machine.h"

static sim_file* old_file;

static void
start_both(uint32_t* old_registration, uint32_t* new_registration)
{
    machine_start(NULL);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &old_file), STATUS_SUCCESS);
    *old_registration = register_pid(old_file, OLD_PROXY);
    *new_registration = register_pid(machine_file, PROXY);
}

static uint32_t
active(void)
{
    return machine_status().active_registration;
}

TEST(f1_the_first_registration_is_active_and_holds_one_reference)
{
    machine_start(NULL);
    CHECK_EQUAL(register_pid(machine_file, PROXY), 1);
    CHECK_EQUAL(active(), 1);
    CHECK_EQUAL(machine_status().generation, 1);
    CHECK_EQUAL(sim_process_references(PROXY), 1);
    machine_stop();
}

TEST(f2_registering_again_replaces_values_and_no_references)
{
    machine_start(NULL);
    CHECK_EQUAL(register_pid(machine_file, PROXY), register_pid(machine_file, PROXY));
    CHECK_EQUAL(machine_status().generation, 2);
    CHECK_EQUAL(sim_process_references(PROXY), 1);
    machine_stop();
}

TEST(f3_to_f7_an_old_owner_cannot_touch_the_new_one_and_frees_what_it_held)
{
    uint32_t older, newer;
    sim_connect_request of_old = connect_v4(203, 0, 113, 7, 443);

    start_both(&older, &newer);
    CHECK_EQUAL(active(), newer); // F3
    add_redirect_filters(newer);
    of_old.pid = OLD_PROXY;
    CHECK(!run_connect(of_old).redirected);
    CHECK_EQUAL(register_pid(old_file, OLD_PROXY), older); // F4, adapted: its own, behind; never in front
    CHECK_EQUAL(registration_ioctl(old_file, OLD_PROXY, PM_IOCTL_RENEW, older), STATUS_SUCCESS);
    CHECK_EQUAL(active(), newer);
    CHECK_EQUAL(registration_ioctl(old_file, OLD_PROXY, PM_IOCTL_WITHDRAW, newer), STATUS_ACCESS_DENIED); // F5
    CHECK_EQUAL(active(), newer);
    sim_cleanup(old_file, OLD_PROXY); // F6
    CHECK_EQUAL(active(), newer);
    CHECK_EQUAL(sim_process_references(OLD_PROXY), 0);
    sim_process_exit(OLD_PROXY); // F7
    CHECK_EQUAL(active(), newer);
    sim_close(old_file);
    machine_stop();
}

TEST(f8_when_the_owner_exits_the_next_connect_is_direct)
{
    sim_file* looker;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 3, NULL, &looker), STATUS_SUCCESS);
    add_redirect_filters(register_pid(machine_file, PROXY));
    CHECK(is_redirected());
    sim_process_exit(PROXY);
    machine_engine = NULL;
    CHECK(!is_redirected());
    CHECK_EQUAL(sim_process_references(PROXY), 0);
    sim_close(looker);
    machine_stop();
}

TEST(f9_and_f10_exit_and_cleanup_in_either_order_count_once)
{
    for (int exit_first = 0; exit_first < 2; exit_first++) {
        sim_file* looker;
        pm_status_reply status;
        uint32_t written;

        machine_start(NULL);
        CHECK_EQUAL(sim_open(APP, 1, NULL, &looker), STATUS_SUCCESS);
        (void)register_pid(machine_file, PROXY);
        if (exit_first) {
            sim_process_exit(PROXY);
            sim_cleanup(machine_file, 0);
        } else {
            sim_cleanup(machine_file, PROXY);
            sim_process_exit(PROXY);
        }
        CHECK_EQUAL(
            sim_ioctl(looker, APP, PM_IOCTL_STATUS, NULL, 0, &status, sizeof(status), &written), STATUS_SUCCESS);
        CHECK_EQUAL(status.counters[PM_COUNTER_OWNER_EXITED], exit_first);
        CHECK_EQUAL(status.counters[PM_COUNTER_OWNER_CLOSED], !exit_first);
        CHECK_EQUAL(status.generation, 2);
        sim_close(looker);
        machine_stop();
    }
}

TEST(f11_the_old_ones_exit_and_the_new_ones_registration_commute)
{
    for (int exit_first = 0; exit_first < 2; exit_first++) {
        machine_start(NULL);
        CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &old_file), STATUS_SUCCESS);
        (void)register_pid(old_file, OLD_PROXY);
        uint32_t newer = 0;
        if (exit_first) {
            sim_process_exit(OLD_PROXY);
            newer = register_pid(machine_file, PROXY);
        } else {
            newer = register_pid(machine_file, PROXY);
            sim_process_exit(OLD_PROXY);
        }
        CHECK_EQUAL(active(), newer);
        CHECK_EQUAL(sim_process_references(OLD_PROXY), 0);
        sim_close(old_file);
        machine_stop();
    }
}

TEST(f12_a_new_process_with_an_old_pid_is_a_stranger)
{
    sim_file* file;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &old_file), STATUS_SUCCESS);
    (void)register_pid(old_file, OLD_PROXY);
    sim_process_exit(OLD_PROXY); // gives the reference back, so the PID may be used again
    sim_process_start(OLD_PROXY, 1, 9999, NULL, 0);
    uint32_t registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
    sim_connect_request request = connect_v4(203, 0, 113, 7, 443);
    request.pid = OLD_PROXY;
    sim_connect_result result = run_connect(request);
    CHECK(result.redirected); // no exemption left over
    sim_flow_close(result.flow);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &file), STATUS_SUCCESS);
    CHECK_EQUAL(registration_ioctl(file, OLD_PROXY, PM_IOCTL_WITHDRAW, registration), STATUS_ACCESS_DENIED);
    sim_process_exit(OLD_PROXY);
    CHECK_EQUAL(active(), registration);
    sim_close(file), sim_close(old_file);
    machine_stop();
}

TEST(f13_a_duplicated_handle_speaks_for_its_file_object)
{
    sim_file* looker;
    pm_status_reply status;
    uint32_t written;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(PROXY, 3, NULL, &looker), STATUS_SUCCESS);
    (void)register_pid(machine_file, PROXY);
    sim_cleanup(machine_file, APP); // closed last by another process
    CHECK_EQUAL(
        sim_ioctl(looker, PROXY, PM_IOCTL_STATUS, NULL, 0, &status, sizeof(status), &written), STATUS_SUCCESS);
    CHECK_EQUAL(status.active_registration, 0);
    sim_close(looker);
    machine_stop();
}

TEST(f14_a_fifth_registration_drops_the_oldest_and_its_reference)
{
    sim_file* files[5];

    machine_start(NULL);
    for (uint32_t i = 0; i < 5; i++) {
        sim_process_start(9000 + i, 1, i, NULL, 0);
        CHECK_EQUAL(sim_open(9000 + i, 3, NULL, &files[i]), STATUS_SUCCESS);
        (void)register_pid(files[i], 9000 + i);
        CHECK_EQUAL(sim_process_references(9000 + i), 1);
    }
    CHECK_EQUAL(sim_process_references(9000), 0);
    for (uint32_t i = 0; i < 5; i++) {
        sim_close(files[i]);
    }
    machine_stop();
}

TEST(f15_a_request_cannot_name_another_process)
{
    pm_register_request request = register_request();
    pm_register_reply reply;

    machine_start(NULL);
    request.pid = APP;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    CHECK_EQUAL(sim_process_references(APP) + sim_process_references(PROXY), 0);
    request.pid = PROXY;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_SUCCESS);
    machine_stop();
}

TEST(f16_new_processes_are_reported_and_change_nothing)
{
    machine_start(NULL); // adapted: starts are events, for rules by name
    uint32_t registration = register_pid(machine_file, PROXY);
    uint64_t events = machine_status().events_written;
    sim_process_start(9100, APP, 5, NULL, 0);
    CHECK_EQUAL(machine_status().events_written, events + 1);
    CHECK_EQUAL(active(), registration);
    CHECK_EQUAL(machine_status().generation, 1);
    machine_stop();
}

// ---- H ----

TEST(h1_the_level_of_classify_makes_no_difference)
{
    sim_connect_result results[2];

    for (uint32_t i = 0; i < 2; i++) {
        sim_knobs knobs = {.acquire_sets_block = 1, .classify_irql = i == 0 ? PASSIVE_LEVEL : DISPATCH_LEVEL};

        machine_start(&knobs);
        add_redirect_filters(register_pid(machine_file, PROXY));
        results[i] = run_connect(connect_v4(203, 0, 113, 7, 443));
        sim_flow_close(results[i].flow);
        results[i].flow = 0;
        machine_stop();
    }
    CHECK(memcmp(&results[0], &results[1], sizeof(results[0])) == 0);
}

TEST(h4_the_structures_have_the_sizes_of_windows)
{
    CHECK_EQUAL(sizeof(FWPS_CONNECT_REQUEST0), 312); // H2: threads_test.c; H3: tests/native/test_driver_image.py
    CHECK_EQUAL(sizeof(FWPS_CLASSIFY_OUT0), 40);
    CHECK_EQUAL(sizeof(pm_redirect_context), 512);
}
