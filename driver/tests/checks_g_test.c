// The reference's checklist (wfp-kernel.md 9.2), G: what comes through the device.  Every blob has a verdict of its own here, made from
// abi/ABI.md and not from the driver's code, and what is refused changes nothing.
#include "machine.h"

typedef struct blob_ioctl {
    uint32_t code, in_size, out_size;
} blob_ioctl;

static const blob_ioctl ioctls[] = {
    {PM_IOCTL_QUERY_VERSION, 0, 16}, {PM_IOCTL_REGISTER, 48, 24}, {PM_IOCTL_RENEW, 16, 0},
    {PM_IOCTL_WITHDRAW, 16, 0},      {PM_IOCTL_STATUS, 0, 624},   {PM_IOCTL_READ_EVENTS, 16, 32 + 32 * 512},
};
#define IOCTLS (sizeof(ioctls) / sizeof(ioctls[0]))

static uint8_t out[32 + 32 * 512 + 64];
static uint32_t registered; // number of PROXY's registration, 0: none

// ---- the judge ----

static uint32_t
number_at(const uint8_t* at, uint32_t bytes)
{
    uint32_t value = 0;

    while (bytes-- > 0) {
        value = value << 8 | at[bytes];
    }
    return value;
}

static int
all_zero(const uint8_t* at, uint32_t bytes)
{
    while (bytes > 0 && at[bytes - 1] == 0) {
        bytes--;
    }
    return bytes == 0;
}

// Offsets of pm_register_request: lease 8, pid 12, IPv4 16, its port 20, IPv6's port 22, IPv6 24, reserved 40.
static NTSTATUS
judge_register(const uint8_t* in)
{
    uint32_t lease = number_at(in + 8, 4), pid = number_at(in + 12, 4);
    uint32_t v4_port = number_at(in + 20, 2), v6_port = number_at(in + 22, 2);
    int v4 = v4_port != 0 ? in[16] == 127 : all_zero(in + 16, 4);
    int v6 = v6_port != 0 ? all_zero(in + 24, 15) && in[39] == 1 : all_zero(in + 24, 16);
    int good = (lease == 0 || (lease >= 500 && lease <= 60000)) && (pid == 0 || pid == PROXY) && v4 && v6
               && (v4_port != 0 || v6_port != 0) && all_zero(in + 40, 8);

    return good ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

static NTSTATUS
judge(const blob_ioctl* ioctl, const uint8_t* in, uint32_t in_size, uint32_t out_size)
{
    if (in_size != ioctl->in_size) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    if (out_size < ioctl->out_size) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    if (in_size == 0) {
        return STATUS_SUCCESS;
    }
    if (number_at(in, 4) != in_size || number_at(in + 4, 4) != 1) {
        return STATUS_REVISION_MISMATCH;
    }
    switch (ioctl->code) {
    case PM_IOCTL_REGISTER:
        return judge_register(in);
    case PM_IOCTL_RENEW:
    case PM_IOCTL_WITHDRAW:
        if (number_at(in + 12, 4) != 0) {
            return STATUS_INVALID_PARAMETER;
        }
        return registered != 0 && number_at(in + 8, 4) == registered ? STATUS_SUCCESS : STATUS_NOT_FOUND;
    default:
        return STATUS_SUCCESS;
    }
}

// Sends one blob and holds the driver to the verdict: status, bytes written, references, and nothing changed by what was refused.
static void
send(const blob_ioctl* ioctl, const uint8_t* in, uint32_t in_size, uint32_t out_size)
{
    uint32_t written = 77;
    NTSTATUS want = judge(ioctl, in, in_size, out_size);
    NTSTATUS status;

    memset(out, 0x5A, out_size + 16 < sizeof(out) ? out_size + 16 : sizeof(out));
    status = sim_ioctl(machine_file, PROXY, ioctl->code, in, in_size, out, out_size, &written);
    CHECK_EQUAL(status, want);
    if (!NT_SUCCESS(status)) {
        CHECK_EQUAL(written, 0);
        CHECK_EQUAL(out[0], 0x5A);
    } else if (ioctl->code == PM_IOCTL_READ_EVENTS) {
        CHECK(written >= 32 && written <= ioctl->out_size && written == number_at(out, 4));
    } else {
        CHECK_EQUAL(written, ioctl->out_size);
    }
    CHECK_EQUAL(out[out_size], 0x5A); // not one byte past the room
    if (NT_SUCCESS(status) && ioctl->code == PM_IOCTL_REGISTER) {
        CHECK(registered == 0 || number_at(out + 8, 4) == registered);
        registered = number_at(out + 8, 4);
    } else if (NT_SUCCESS(status) && ioctl->code == PM_IOCTL_WITHDRAW) {
        registered = 0;
    }
    CHECK_EQUAL(sim_process_references(PROXY), registered != 0);
}

static void
good_blob(const blob_ioctl* ioctl, uint8_t* in)
{
    memset(in, 0, 64);
    in[0] = (uint8_t)ioctl->in_size, in[4] = 1;
    if (ioctl->code == PM_IOCTL_REGISTER) {
        pm_register_request request = register_request();
        memcpy(in, &request, sizeof(request));
    } else if (ioctl->code == PM_IOCTL_RENEW || ioctl->code == PM_IOCTL_WITHDRAW) {
        in[8] = (uint8_t)registered;
    }
}

static void
start_registered(void)
{
    machine_start(NULL);
    registered = register_pid(machine_file, PROXY);
}

// ---- G1, G2 ----

TEST(g1_every_length_of_every_ioctl_has_its_exact_status)
{
    uint8_t in[64];

    start_registered();
    for (size_t i = 0; i < IOCTLS; i++) {
        uint32_t step = ioctls[i].out_size > 1000 ? 97 : 1;

        for (uint32_t in_size = 0; in_size <= ioctls[i].in_size + 16; in_size++) {
            for (uint32_t out_size = 0; out_size <= ioctls[i].out_size + 16; out_size += step) {
                good_blob(&ioctls[i], in);
                send(&ioctls[i], in, in_size, out_size);
            }
            send(&ioctls[i], in, in_size, ioctls[i].out_size);
            send(&ioctls[i], in, in_size, ioctls[i].out_size == 0 ? 0 : ioctls[i].out_size - 1);
        }
    }
    machine_stop();
}

TEST(g1_every_value_of_every_byte_of_every_request_has_its_exact_status)
{
    uint8_t in[64];

    start_registered();
    for (size_t i = 0; i < IOCTLS; i++) {
        for (uint32_t at = 0; at < ioctls[i].in_size; at++) {
            for (uint32_t value = 0; value < 256; value++) {
                if (registered == 0) {
                    registered = register_pid(machine_file, PROXY);
                }
                good_blob(&ioctls[i], in);
                in[at] = (uint8_t)value;
                send(&ioctls[i], in, ioctls[i].in_size, ioctls[i].out_size);
            }
        }
    }
    machine_stop();
}

TEST(g2_unknown_codes_are_refused)
{
    uint8_t reply[64];
    uint32_t written;

    machine_start(NULL);
    for (uint32_t method = 1; method < 4; method++) {
        CHECK_EQUAL(
            sim_ioctl(machine_file, PROXY, PM_IOCTL_QUERY_VERSION | method, NULL, 0, reply, sizeof(reply), &written),
            STATUS_INVALID_DEVICE_REQUEST);
    }
    for (uint32_t bit = 2; bit < 32; bit++) {
        uint32_t code = PM_IOCTL_QUERY_VERSION ^ 1u << bit;
        NTSTATUS status = sim_ioctl(machine_file, PROXY, code, NULL, 0, reply, sizeof(reply), &written);
        CHECK(status == STATUS_INVALID_DEVICE_REQUEST || code == PM_IOCTL_REGISTER || code == PM_IOCTL_RENEW
              || code == PM_IOCTL_STATUS);
    }
    machine_stop();
}

TEST(g3_a_bad_request_leaves_the_old_configuration)
{
    pm_register_request request = register_request();
    pm_register_reply reply;
    pm_status_reply before, after;

    machine_start(NULL);
    (void)register_pid(machine_file, PROXY);
    before = machine_status();
    request.endpoints.v4_port = 0;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    request = register_request(), request.endpoints.v4_address[0] = 10;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    request = register_request(), memset(&request.endpoints, 0, sizeof(request.endpoints));
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    request = register_request(), request.reserved[0] = 1;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    request = register_request(), request.header.version++;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_REVISION_MISMATCH);
    request = register_request(), request.lease_ms = 1;
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_INVALID_PARAMETER);
    after = machine_status();
    CHECK_EQUAL(after.generation, before.generation);
    CHECK(memcmp(after.registrations, before.registrations, sizeof(after.registrations)) == 0);
    machine_stop();
}

TEST(g4_a_handle_that_may_only_read_cannot_register)
{
    pm_register_request request = register_request();
    pm_register_reply reply;
    sim_file* file;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 1, NULL, &file), STATUS_SUCCESS);
    CHECK_EQUAL(register_with(file, APP, &request, &reply), STATUS_ACCESS_DENIED);
    sim_close(file);
    machine_stop();
}

TEST(g5_and_g6_nothing_is_below_the_device_and_two_may_open_it)
{
    static const uint16_t below[] = {'\\', 'x', 0};
    sim_file* file;

    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 3, below, &file), STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &file), STATUS_SUCCESS);
    sim_close(file);
    machine_stop();
}

// Random buffers of up to 4 KB, and good ones with a few bytes changed, which get further.
TEST(g7_a_million_random_requests_each_have_their_exact_status)
{
    static uint8_t in[4096];
    uint32_t random = 88172645u, accepted = 0;
    int requests = getenv("SIMWFP_KNOBS") != NULL ? 20000 : 1000000; // what the knobs are about is not asked here

    start_registered();
    for (int i = 0; i < requests && check_failures < 20; i++) {
        const blob_ioctl* ioctl;
        uint32_t size, changes;

        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        ioctl = &ioctls[random % 16 < 6 ? random % 16 : 1 + random % 3]; // fewer of those that only read
        size = ioctl->in_size;
        if (random % 32 == 0) {
            size = (random >> 8) % sizeof(in);
            for (uint32_t j = 0; j + 4 <= size; j += 4) {
                random ^= random << 13, random ^= random >> 17, random ^= random << 5;
                memcpy(in + j, &random, 4);
            }
        } else {
            good_blob(ioctl, in);
            for (changes = random >> 6 & 3; changes > 0 && size != 0; changes--) {
                random ^= random << 13, random ^= random >> 17, random ^= random << 5;
                in[(random >> 8) % size] = (uint8_t)(random >> 20 & 1 ? random >> 24 : 1u << (random >> 24 & 7));
            }
        }
        send(ioctl, in, size, ioctl->out_size + (random >> 28 == 0 ? 7 : 0));
        accepted += registered != 0;
    }
    CHECK(accepted > (uint32_t)requests / 10);
    machine_stop();
}

TEST(g8_what_is_reserved_in_the_status_is_zero_and_counters_only_grow)
{
    pm_status_reply before, after;

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    before = machine_status();
    for (int i = 0; i < 5; i++) {
        CHECK(is_redirected());
        (void)run_connect(connect_v4(10, 0, 0, 1, 1));
    }
    after = machine_status();
    for (uint32_t i = 0; i < PM_COUNTER_COUNT; i++) {
        CHECK(after.counters[i] >= before.counters[i]);
        CHECK(i <= PM_COUNTER_REFUSED || after.counters[i] == 0);
    }
    for (uint32_t i = 0; i < PM_MAX_REGISTRATIONS; i++) {
        for (uint32_t j = 0; j < 4; j++) {
            CHECK_EQUAL(after.registrations[i].reserved[j], 0);
        }
    }
    machine_stop();
}
