// The control device: every size, code and right, and who may change what.
#include "machine.h"

static const struct {
    uint32_t code, in_size, out_size;
} ioctls[] = {
    {PM_IOCTL_QUERY_VERSION, 0, sizeof(pm_version_reply)},
    {PM_IOCTL_REGISTER, sizeof(pm_register_request), sizeof(pm_register_reply)},
    {PM_IOCTL_RENEW, sizeof(pm_registration_request), 0},
    {PM_IOCTL_WITHDRAW, sizeof(pm_registration_request), 0},
    {PM_IOCTL_STATUS, 0, sizeof(pm_status_reply)},
    {PM_IOCTL_READ_EVENTS, sizeof(pm_events_request), sizeof(pm_events_reply)},
};

TEST(every_wrong_size_is_refused_without_reading_or_writing_past_the_buffers)
{
    uint8_t* out = malloc(sizeof(pm_events_reply) + 8);
    uint8_t in[64] = {0};

    machine_start(NULL);
    for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++) {
        for (uint32_t in_size = 0; in_size <= ioctls[i].in_size + 8; in_size++) {
            uint32_t written = 77;
            uint32_t out_size = ioctls[i].out_size;
            if (in_size == ioctls[i].in_size) {
                continue;
            }
            CHECK_EQUAL(
                sim_ioctl(machine_file, PROXY, ioctls[i].code, in, in_size, out, out_size, &written),
                STATUS_INFO_LENGTH_MISMATCH);
            CHECK_EQUAL(written, 0);
        }
        for (uint32_t out_size = 0; out_size < ioctls[i].out_size; out_size++) {
            uint32_t written = 77;
            CHECK_EQUAL(
                sim_ioctl(machine_file, PROXY, ioctls[i].code, in, ioctls[i].in_size, out, out_size, &written),
                STATUS_BUFFER_TOO_SMALL);
        }
    }
    free(out);
    machine_stop();
}

TEST(unknown_codes_methods_and_devices_are_refused)
{
    uint32_t written;
    pm_version_reply reply;
    static const uint32_t codes[] = {
        0, 0xFFFFFFFF, PM_IOCTL_QUERY_VERSION | 1, PM_IOCTL_QUERY_VERSION | 3, PM_IOCTL_QUERY_VERSION + 0x10000,
        PM_CTL_CODE(0x806u, 1u), PM_CTL_CODE(0x801u, 1u)};

    machine_start(NULL);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        CHECK_EQUAL(
            sim_ioctl(machine_file, PROXY, codes[i], NULL, 0, &reply, sizeof(reply), &written),
            STATUS_INVALID_DEVICE_REQUEST);
    }
    CHECK_EQUAL(counter(PM_COUNTER_REFUSED), sizeof(codes) / sizeof(codes[0]));
    machine_stop();
}

TEST(another_version_or_a_lying_size_is_refused)
{
    pm_register_request request = register_request();
    pm_register_reply reply;

    machine_start(NULL);
    request.header.version = PM_ABI_VERSION + 1;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_REVISION_MISMATCH);
    request = register_request(), request.header.size--;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_REVISION_MISMATCH);
    request = register_request(), request.endpoints.v4_address[0] = 8;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    request = register_request(), request.pid = OLD_PROXY; // a PID in the request proves nothing
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    CHECK_EQUAL(machine_status().active_registration, 0);
    machine_stop();
}

TEST(a_read_only_handle_may_look_and_not_touch)
{
    sim_file* file;
    uint32_t written;
    pm_version_reply version;
    pm_register_request request = register_request();
    pm_register_reply reply;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 1, NULL, &file), STATUS_SUCCESS);
    CHECK_EQUAL(
        sim_ioctl(file, APP, PM_IOCTL_QUERY_VERSION, NULL, 0, &version, sizeof(version), &written), STATUS_SUCCESS);
    CHECK_EQUAL(register_with(file, APP, &request, &reply), STATUS_ACCESS_DENIED);
    sim_close(file);
    machine_stop();
}

TEST(nothing_can_be_opened_below_the_device)
{
    sim_file* file;
    static const uint16_t name[] = {'\\', 'x', 0};

    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 3, name, &file), STATUS_OBJECT_NAME_NOT_FOUND);
    machine_stop();
}

TEST(an_old_instance_cannot_touch_a_newer_ones_registration)
{
    sim_file* old_file;
    uint32_t old_registration, new_registration;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &old_file), STATUS_SUCCESS);
    old_registration = register_pid(old_file, OLD_PROXY);
    new_registration = register_pid(machine_file, PROXY);
    CHECK_EQUAL(machine_status().active_registration, new_registration);
    CHECK_EQUAL(
        registration_ioctl(old_file, OLD_PROXY, PM_IOCTL_WITHDRAW, new_registration), STATUS_ACCESS_DENIED);
    CHECK_EQUAL(registration_ioctl(old_file, OLD_PROXY, PM_IOCTL_RENEW, new_registration), STATUS_ACCESS_DENIED);
    CHECK_EQUAL(register_pid(old_file, OLD_PROXY), old_registration); // its own values, its old place
    CHECK_EQUAL(machine_status().active_registration, new_registration);
    sim_close(old_file);
    CHECK_EQUAL(machine_status().active_registration, new_registration);
    sim_process_exit(OLD_PROXY);
    CHECK_EQUAL(machine_status().active_registration, new_registration);
    CHECK_EQUAL(sim_process_references(OLD_PROXY), 0);
    machine_stop();
}

TEST(when_the_newer_instance_goes_the_older_live_one_is_active_again)
{
    sim_file* old_file;
    uint32_t old_registration, new_registration;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &old_file), STATUS_SUCCESS);
    old_registration = register_pid(old_file, OLD_PROXY);
    new_registration = register_pid(machine_file, PROXY);
    sim_advance(2000 * 10000ull);
    CHECK_EQUAL(registration_ioctl(old_file, OLD_PROXY, PM_IOCTL_RENEW, old_registration), STATUS_SUCCESS);
    sim_advance(1000 * 10000ull); // the newer one hangs
    CHECK_EQUAL(machine_status().active_registration, old_registration);
    CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_RENEW, new_registration), STATUS_SUCCESS);
    CHECK_EQUAL(machine_status().active_registration, new_registration);
    CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_WITHDRAW, new_registration), STATUS_SUCCESS);
    CHECK_EQUAL(machine_status().active_registration, old_registration);
    sim_process_exit(OLD_PROXY); // then its handle, the other way round than above
    CHECK_EQUAL(machine_status().active_registration, 0);
    sim_close(old_file);
    CHECK_EQUAL(counter(PM_COUNTER_OWNER_EXITED), 1);
    CHECK_EQUAL(counter(PM_COUNTER_OWNER_CLOSED), 0);
    machine_stop();
}

TEST(a_handle_closed_last_by_another_process_clears_its_registrants_only)
{
    sim_file* other;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &other), STATUS_SUCCESS);
    (void)register_pid(machine_file, PROXY);
    sim_cleanup(other, PROXY); // in the owner's context, but not the owner's file
    CHECK(machine_status().active_registration != 0);
    sim_close(other);
    CHECK_EQUAL(sim_open(PROXY, 3, NULL, &other), STATUS_SUCCESS);
    sim_cleanup(machine_file, APP); // duplicated into APP, closed there
    uint32_t written;
    pm_status_reply status;
    CHECK_EQUAL(
        sim_ioctl(other, PROXY, PM_IOCTL_STATUS, NULL, 0, &status, sizeof(status), &written), STATUS_SUCCESS);
    CHECK_EQUAL(status.active_registration, 0);
    CHECK_EQUAL(sim_process_references(PROXY), 0);
    sim_close(other);
    machine_stop();
}

TEST(a_handle_that_several_processes_registered_through_takes_all_of_them_with_it)
{
    sim_file* looker;
    pm_status_reply status;
    uint32_t written;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 1, NULL, &looker), STATUS_SUCCESS);
    for (uint32_t i = 0; i < PM_MAX_REGISTRATIONS; i++) { // one handle, inherited
        sim_process_start(9000 + i, PROXY, i, NULL, 0);
        (void)register_pid(machine_file, 9000 + i);
    }
    sim_cleanup(machine_file, 9003);
    CHECK_EQUAL(
        sim_ioctl(looker, APP, PM_IOCTL_STATUS, NULL, 0, &status, sizeof(status), &written), STATUS_SUCCESS);
    CHECK_EQUAL(status.active_registration, 0);
    CHECK_EQUAL(status.registrations[0].registration, 0);
    CHECK_EQUAL(status.counters[PM_COUNTER_OWNER_CLOSED], PM_MAX_REGISTRATIONS);
    for (uint32_t i = 0; i < PM_MAX_REGISTRATIONS; i++) {
        CHECK_EQUAL(sim_process_references(9000 + i), 0);
    }
    sim_close(looker);
    machine_stop();
}

TEST(a_fifth_instance_drops_the_oldest_and_its_reference)
{
    sim_file* files[5];

    machine_start(NULL);
    for (uint32_t i = 0; i < 5; i++) {
        sim_process_start(9000 + i, 1, i, NULL, 0);
        CHECK_EQUAL(sim_open(9000 + i, 3, NULL, &files[i]), STATUS_SUCCESS);
        (void)register_pid(files[i], 9000 + i);
    }
    CHECK_EQUAL(sim_process_references(9000), 0);
    CHECK_EQUAL(sim_process_references(9001), 1);
    CHECK_EQUAL(machine_status().registrations[0].pid, 9004);
    CHECK_EQUAL(machine_status().registrations[3].pid, 9001);
    for (uint32_t i = 0; i < 5; i++) {
        sim_process_exit(9000 + i);
        sim_close(files[i]);
    }
    machine_stop();
}

TEST(without_process_notification_registrations_are_refused)
{
    pm_register_request request = register_request();
    pm_register_reply reply;

    for (uint32_t nth = 1; nth < 64; nth++) {
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
        pm_status_reply reply_status = machine_status();
        status = register_with(machine_file, PROXY, &request, &reply);
        CHECK_EQUAL(NT_SUCCESS(status), (reply_status.state & PM_STATE_PROCESS_NOTIFY) != 0);
        machine_engine = NULL;
        machine_stop();
    }
}

TEST(events_come_in_order_and_overwritten_ones_are_counted)
{
    pm_events_request request = {{sizeof(request), PM_ABI_VERSION}, 0};
    pm_events_reply* reply = malloc(sizeof(*reply));
    uint32_t written = 0, total = 0;
    uint64_t lost = 0, last = 0;

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    for (int i = 0; i < 300; i++) {
        (void)run_connect(connect_v4(10, 0, 0, 1, 443));
    }
    do {
        CHECK_EQUAL(
            sim_ioctl(machine_file, PROXY, PM_IOCTL_READ_EVENTS, &request, sizeof(request), reply, sizeof(*reply), &written),
            STATUS_SUCCESS);
        CHECK_EQUAL(written, 32 + reply->count * sizeof(pm_event));
        CHECK_EQUAL(reply->header.size, written);
        for (uint32_t i = 0; i < reply->count; i++) {
            CHECK(total + i == 0 || reply->events[i].sequence == last + 1);
            last = reply->events[i].sequence;
        }
        total += reply->count;
        lost += reply->lost;
        request.from_sequence = reply->next_sequence;
    } while (reply->count != 0);
    CHECK_EQUAL(total, 256);
    CHECK_EQUAL(total + lost, machine_status().events_written);
    request.from_sequence = ~0ull; // a reader from another life
    CHECK_EQUAL(
        sim_ioctl(machine_file, PROXY, PM_IOCTL_READ_EVENTS, &request, sizeof(request), reply, sizeof(*reply), &written),
        STATUS_SUCCESS);
    CHECK_EQUAL(reply->count, 0);
    free(reply);
    machine_stop();
}

TEST(an_event_in_a_used_place_of_the_ring_keeps_nothing_of_the_old_one)
{
    static const uint8_t zeros[PM_APP_ID_MAX];
    pm_events_request request = {{sizeof(request), PM_ABI_VERSION}, 0};
    pm_events_reply* reply = malloc(sizeof(*reply));
    uint8_t app[300];
    sim_connect_request connect = connect_v4(10, 0, 0, 1, 443);
    uint32_t written;

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    memset(app, 'x', sizeof(app));
    for (uint32_t i = 0; i < 700; i++) { // around the ring almost three times, with app ids of every length
        connect.app_id = app, connect.app_id_size = (i * 7919u) % 300u & ~1u;
        (void)run_connect(connect);
        if (i % 60 == 59) {
            sim_process_start(9500 + i, APP, 1, NULL, 0); // an event without one
        }
    }
    do {
        CHECK_EQUAL(
            sim_ioctl(machine_file, PROXY, PM_IOCTL_READ_EVENTS, &request, sizeof(request), reply, sizeof(*reply), &written),
            STATUS_SUCCESS);
        for (uint32_t i = 0; i < reply->count; i++) {
            const pm_event* event = &reply->events[i];
            CHECK(memcmp(event->app_id + event->app_id_size, zeros, PM_APP_ID_MAX - event->app_id_size) == 0);
            CHECK(memcmp(event->padding, zeros, sizeof(event->padding)) == 0);
            CHECK_EQUAL(event->reserved[0] | event->reserved[1] | event->reserved[2], 0);
            CHECK(event->kind == PM_EVENT_FLOW || event->remote_port == 0);
        }
        request.from_sequence = reply->next_sequence;
    } while (reply->count != 0);
    free(reply);
    machine_stop();
}
