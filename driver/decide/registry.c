#include "registry.h"

#include "address.h"

#define PM_TICKS_PER_MS 10000u

static void remove_at(pm_registry* registry, uint32_t index, pm_registration* removed) {
    *removed = registry->entries[index];
    for (uint32_t i = index + 1; i < registry->count; i++) {
        registry->entries[i - 1] = registry->entries[i];
    }
    registry->count--;
    registry->generation++;
}

static int lease_is_over(const pm_registration* registration, uint64_t now) {
    return now >= registration->lease_end;
}

static uint32_t index_to_drop(const pm_registry* registry, uint64_t now) {
    for (uint32_t i = registry->count; i-- > 0;) {
        if (lease_is_over(&registry->entries[i], now)) {
            return i;
        }
    }
    return registry->count - 1;
}

void pm_registry_register(
    pm_registry* registry, pm_registration* candidate, uint64_t now, const void** dropped, int* added) {
    *dropped = NULL;
    *added = 0;
    candidate->lease_end = now + (uint64_t)candidate->lease_ms * PM_TICKS_PER_MS;
    for (uint32_t i = 0; i < registry->count; i++) {
        if (registry->entries[i].owner == candidate->owner) {
            candidate->number = registry->entries[i].number;
            registry->entries[i] = *candidate;
            registry->generation++;
            return;
        }
    }
    if (registry->count == PM_MAX_REGISTRATIONS) {
        pm_registration gone;
        remove_at(registry, index_to_drop(registry, now), &gone);
        *dropped = gone.owner;
    }
    for (uint32_t i = registry->count; i > 0; i--) {
        registry->entries[i] = registry->entries[i - 1];
    }
    if (++registry->last_number == 0) {
        registry->last_number = 1; // 0 means nobody
    }
    candidate->number = registry->last_number;
    registry->entries[0] = *candidate;
    registry->count++;
    registry->generation++;
    *added = 1;
}

static pm_registry_result find(const pm_registry* registry, uint32_t number, const void* owner, uint32_t* index) {
    for (uint32_t i = 0; i < registry->count; i++) {
        if (registry->entries[i].number == number) {
            *index = i;
            return registry->entries[i].owner == owner ? PM_REGISTRY_DONE : PM_REGISTRY_NOT_OWNER;
        }
    }
    return PM_REGISTRY_NOT_FOUND;
}

pm_registry_result pm_registry_renew(pm_registry* registry, uint32_t number, const void* owner, uint64_t now) {
    uint32_t index = 0;
    pm_registry_result result = find(registry, number, owner, &index);

    if (result == PM_REGISTRY_DONE) {
        pm_registration* entry = &registry->entries[index];
        entry->lease_end = now + (uint64_t)entry->lease_ms * PM_TICKS_PER_MS;
    }
    return result;
}

pm_registry_result
pm_registry_withdraw(pm_registry* registry, uint32_t number, const void* owner, pm_registration* removed) {
    uint32_t index = 0;
    pm_registry_result result = find(registry, number, owner, &index);

    if (result == PM_REGISTRY_DONE) {
        remove_at(registry, index, removed);
    }
    return result;
}

int pm_registry_remove(pm_registry* registry, const void* owner_or_file, pm_registration* removed) {
    for (uint32_t i = 0; i < registry->count; i++) {
        if (registry->entries[i].owner == owner_or_file || registry->entries[i].file == owner_or_file) {
            remove_at(registry, i, removed);
            return 1;
        }
    }
    return 0;
}

void pm_registry_snapshot(const pm_registry* registry, uint64_t now, pm_snapshot* snapshot) {
    snapshot->registered = registry->count;
    snapshot->active_registration = 0;
    snapshot->active_pid = 0;
    snapshot->generation = registry->generation;
    for (uint32_t i = 0; i < registry->count; i++) {
        const pm_registration* entry = &registry->entries[i];

        snapshot->pids[i] = entry->pid;
        if (snapshot->active_registration == 0 && !lease_is_over(entry, now)) {
            snapshot->active_registration = entry->number;
            snapshot->active_pid = entry->pid;
            snapshot->endpoints = entry->endpoints;
        }
    }
}

uint32_t pm_registry_lease_left_ms(const pm_registration* registration, uint64_t now) {
    if (lease_is_over(registration, now)) {
        return 0;
    }
    return (uint32_t)((registration->lease_end - now + PM_TICKS_PER_MS - 1) / PM_TICKS_PER_MS);
}

static int endpoints_valid(const pm_endpoints* endpoints) {
    int has_v4 = endpoints->v4_port != 0;
    int has_v6 = endpoints->v6_port != 0;

    // A proxy elsewhere than on loopback would make this driver a redirector to other machines.
    if (has_v4 ? pm_address_kind_v4(endpoints->v4_address) != PM_ADDRESS_LOOPBACK
               : !pm_address_is_zero(endpoints->v4_address, sizeof(endpoints->v4_address))) {
        return 0;
    }
    if (!pm_address_is_zero(endpoints->v6_address, sizeof(endpoints->v6_address) - 1)
        || endpoints->v6_address[15] != (has_v6 ? 1 : 0)) {
        return 0; // ::1 and no other spelling of loopback
    }
    return has_v4 || has_v6;
}

int pm_register_request_valid(const pm_register_request* request, uint32_t caller_pid) {
    if (request->lease_ms != 0 && (request->lease_ms < PM_LEASE_MIN_MS || request->lease_ms > PM_LEASE_MAX_MS)) {
        return 0;
    }
    if (request->pid != 0 && request->pid != caller_pid) {
        return 0;
    }
    if (request->reserved[0] != 0 || request->reserved[1] != 0) {
        return 0;
    }
    return endpoints_valid(&request->endpoints);
}
