// The registrations against a model of ten lines, over random sequences of everything that can happen to them.
#include "decide/registry.h"

#include "check.h"

#define OWNERS 6
#define MS 10000ull

// The model: a list of live owners by age of registration, and when each one's lease ends.
typedef struct model {
    int owner[PM_MAX_REGISTRATIONS];
    uint32_t number[PM_MAX_REGISTRATIONS];
    uint64_t lease_end[PM_MAX_REGISTRATIONS];
    int count;
} model;

static void
model_remove(model* m, int at)
{
    for (int i = at + 1; i < m->count; i++) {
        m->owner[i - 1] = m->owner[i], m->number[i - 1] = m->number[i], m->lease_end[i - 1] = m->lease_end[i];
    }
    m->count--;
}

static int
model_find(const model* m, int owner)
{
    for (int i = 0; i < m->count; i++) {
        if (m->owner[i] == owner) {
            return i;
        }
    }
    return -1;
}

static uint32_t
model_active(const model* m, uint64_t now)
{
    for (int i = m->count; i-- > 0;) { // newest last
        if (now < m->lease_end[i]) {
            return m->number[i];
        }
    }
    return 0;
}

static void
model_register(model* m, int owner, uint32_t number, uint64_t now)
{
    int at = model_find(m, owner);

    if (at < 0 && m->count == PM_MAX_REGISTRATIONS) {
        int drop = 0;
        for (int i = m->count; i-- > 0;) {
            drop = now >= m->lease_end[i] ? i : drop;
        }
        // Of those whose lease is over, the oldest; else the oldest of all.
        model_remove(m, drop);
    }
    if (at < 0) {
        at = m->count++;
        m->owner[at] = owner;
        m->number[at] = number;
    }
    m->lease_end[at] = now + 3000 * MS;
}

static const void*
owner_pointer(int owner)
{
    static const char owners[OWNERS];

    return &owners[owner];
}

static const void*
file_pointer(int owner)
{
    static const char files[OWNERS];

    return &files[owner];
}

static uint32_t
next_random(uint32_t* state)
{
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

static void
one_sequence(uint32_t seed)
{
    uint32_t random = seed;
    uint64_t now = 1;
    pm_registry registry = {0};
    model m = {0};

    for (int step = 0; step < 200; step++) {
        int owner = (int)(next_random(&random) % OWNERS);
        int at = model_find(&m, owner);
        uint32_t number = at < 0 ? 999 : m.number[at];
        pm_registration entry = {.pid = 100u + (uint32_t)owner, .lease_ms = 3000, .owner = owner_pointer(owner),
                                 .file = file_pointer(owner)};
        pm_registration gone = {0};
        const void* dropped = NULL;
        int added = 0;
        pm_snapshot snapshot = {0};

        switch (next_random(&random) % 6) {
        case 0:
            pm_registry_register(&registry, &entry, now, &dropped, &added);
            CHECK_EQUAL(added, at < 0);
            CHECK(at < 0 || entry.number == number);
            model_register(&m, owner, entry.number, now);
            CHECK(dropped == NULL || model_find(&m, (int)((const char*)dropped - (const char*)owner_pointer(0))) < 0);
            break;
        case 1:
            CHECK_EQUAL(
                pm_registry_renew(&registry, number, owner_pointer(owner), now),
                at < 0 ? PM_REGISTRY_NOT_FOUND : PM_REGISTRY_DONE);
            if (at >= 0) {
                m.lease_end[at] = now + 3000 * MS;
            }
            break;
        case 2:
            CHECK_EQUAL(
                pm_registry_withdraw(&registry, number, owner_pointer(owner), &gone),
                at < 0 ? PM_REGISTRY_NOT_FOUND : PM_REGISTRY_DONE);
            if (at >= 0) {
                model_remove(&m, at);
            }
            break;
        case 3: // the process exits; a new one may get the same place in memory
            CHECK_EQUAL(pm_registry_remove(&registry, owner_pointer(owner), &gone), at >= 0);
            if (at >= 0) {
                model_remove(&m, at);
            }
            break;
        case 4: // its handle is closed
            CHECK_EQUAL(pm_registry_remove(&registry, file_pointer(owner), &gone), at >= 0);
            if (at >= 0) {
                model_remove(&m, at);
            }
            break;
        default: // time passes: sometimes enough for a lease to run out
            now += next_random(&random) % (4000 * MS);
            break;
        }
        pm_registry_snapshot(&registry, now, &snapshot);
        CHECK_EQUAL(snapshot.active_registration, model_active(&m, now));
        CHECK_EQUAL(snapshot.registered, m.count);
    }
}

TEST(random_sequences_agree_with_the_model)
{
    for (uint32_t seed = 1; seed <= 2000; seed++) {
        one_sequence(seed * 2654435761u);
    }
}

TEST(only_the_owner_can_renew_or_withdraw)
{
    pm_registry registry = {0};
    pm_registration entry = {.lease_ms = 3000, .owner = owner_pointer(0), .file = file_pointer(0)};
    pm_registration gone = {0};
    const void* dropped;
    int added;

    pm_registry_register(&registry, &entry, 1, &dropped, &added);
    CHECK_EQUAL(pm_registry_renew(&registry, entry.number, owner_pointer(1), 2), PM_REGISTRY_NOT_OWNER);
    CHECK_EQUAL(pm_registry_withdraw(&registry, entry.number, owner_pointer(1), &gone), PM_REGISTRY_NOT_OWNER);
    CHECK_EQUAL(registry.count, 1);
}

TEST(a_lease_shows_what_is_left_of_it)
{
    pm_registration entry = {.lease_end = 1000 * MS};

    CHECK_EQUAL(pm_registry_lease_left_ms(&entry, 0), 1000);
    CHECK_EQUAL(pm_registry_lease_left_ms(&entry, 999 * MS + 1), 1);
    CHECK_EQUAL(pm_registry_lease_left_ms(&entry, 1000 * MS), 0);
    CHECK_EQUAL(pm_registry_lease_left_ms(&entry, 5000 * MS), 0);
}

static pm_register_request
good_request(void)
{
    return (pm_register_request){.endpoints = {.v4_address = {127, 0, 0, 1}, .v4_port = 1}};
}

TEST(a_request_must_name_a_loopback_endpoint_and_nothing_odd)
{
    pm_register_request request = good_request();
    CHECK(pm_register_request_valid(&request, 7));
    request.endpoints.v4_port = 0; // address without port
    CHECK(!pm_register_request_valid(&request, 7));
    request = good_request(), request.endpoints.v4_address[0] = 192;
    CHECK(!pm_register_request_valid(&request, 7));
    request = good_request(), request.endpoints.v4_address[3] = 53; // all of 127/8 is loopback
    CHECK(pm_register_request_valid(&request, 7));
    request = good_request(), request.endpoints.v6_port = 1; // port without address
    CHECK(!pm_register_request_valid(&request, 7));
    request.endpoints.v6_address[15] = 1;
    CHECK(pm_register_request_valid(&request, 7));
    request.endpoints.v6_address[0] = 0x20;
    CHECK(!pm_register_request_valid(&request, 7));
    request = good_request();
    memcpy(request.endpoints.v6_address, (uint8_t[16]){0, 0x64, 0xFF, 0x9B, [12] = 127, 0, 0, 1}, 16);
    request.endpoints.v6_port = 1; // NAT64 of 127.0.0.1 is not loopback
    CHECK(!pm_register_request_valid(&request, 7));
    request = (pm_register_request){0};
    CHECK(!pm_register_request_valid(&request, 7)); // no endpoint at all
    request = good_request(), request.pid = 8;
    CHECK(!pm_register_request_valid(&request, 7));
    request.pid = 7;
    CHECK(pm_register_request_valid(&request, 7));
    request = good_request(), request.lease_ms = PM_LEASE_MIN_MS - 1;
    CHECK(!pm_register_request_valid(&request, 7));
    request.lease_ms = PM_LEASE_MAX_MS + 1;
    CHECK(!pm_register_request_valid(&request, 7));
    request = good_request(), request.reserved[1] = 1;
    CHECK(!pm_register_request_valid(&request, 7));
}
