// What a user-mode caller may do: access checks of the Base Filtering Engine (access-control.md).  Kernel-mode callers skip them.
//
// Entries are inherited from the engine to its containers, and from those to the objects; an object's own come first, and its
// list may be protected from the inherited ones.  SACLs are ignored, as on Windows.
#define _GNU_SOURCE
#include "objects.h"

#include <stdlib.h>
#include <string.h>

// An entry of the list that everything inherits.
#define SIM_ALLOWED(mask, size, ...)                                                                                  \
    0, 0, size, 0, (uint8_t)(mask), (uint8_t)((mask) >> 8), (uint8_t)((mask) >> 16), (uint8_t)((mask) >> 24), __VA_ARGS__
#define SIM_RWX (GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE)

// Services by the SHA-1 of their names: MpsSvc, NapAgent, PolicyAgent, RpcSs, WdiServiceHost.
static const uint8_t sim_inherited[] = {
    2, 0, 276 & 0xFF, 276 >> 8, 8, 0, 0, 0, // revision 2, 276 bytes, eight entries
    SIM_ALLOWED(GENERIC_ALL, 24, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0),
    SIM_ALLOWED(SIM_RWX, 24, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x2C, 2, 0, 0), // Network Configuration Operators
    SIM_ALLOWED(SIM_RWX, 40, 1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 
                0xF1, 0x41, 0x10, 0xB8, 0x36, 0xFC, 0x4D, 0x57, 0xA8, 0xAE,
                0x0B, 0x70, 0x25, 0x21, 0x04, 0x42, 0x84, 0x4F, 0x11, 0x31),
    SIM_ALLOWED(SIM_RWX, 40, 1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 
                0x49, 0x59, 0x9D, 0x77, 0x91, 0x56, 0xE5, 0x55, 0xDC, 0xF4,
                0xE2, 0x0E, 0xA7, 0x8B, 0xEB, 0xCA, 0x7B, 0x42, 0x13, 0x56),
    SIM_ALLOWED(SIM_RWX, 40, 1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 
                0x79, 0x09, 0x78, 0xB5, 0xAF, 0xA1, 0xED, 0xD8, 0x54, 0x5E,
                0x32, 0xF4, 0xFF, 0x1B, 0xC4, 0x5F, 0xFD, 0xD9, 0xE0, 0x4A),
    SIM_ALLOWED(SIM_RWX, 40, 1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 
                0x0A, 0xD8, 0x62, 0x3A, 0xD9, 0xC6, 0x0F, 0x18, 0x1B, 0x65,
                0xB5, 0xEB, 0xD6, 0x6D, 0x2F, 0x8B, 0x78, 0x83, 0x39, 0x5C),
    SIM_ALLOWED(SIM_RWX, 40, 1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 
                0x6E, 0xBF, 0x1B, 0xBB, 0x45, 0xEF, 0xD2, 0xB1, 0x4A, 0x3B,
                0x45, 0xDB, 0x50, 0x5B, 0x43, 0x27, 0x04, 0x58, 0xD8, 0x6B),
    SIM_ALLOWED(FWPM_ACTRL_OPEN | FWPM_ACTRL_CLASSIFY, 20, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0), // Everyone
};
_Static_assert(sizeof(sim_inherited) == 276, "the size in its header");

int
sim_may(const sim_session* session, const sim_object* object, uint32_t rights)
{
    uint32_t wanted = rights;

    if (session->pid == 0) {
        return 1;
    }
    if (object != NULL && object->dacl != NULL && sim_acl_walk(object->dacl, &session->token, &wanted)) {
        return 0;
    }
    if (object != NULL && object->dacl_protected) {
        return wanted == 0;
    }
    return !sim_acl_walk(sim_inherited, &session->token, &wanted) && wanted == 0;
}

static NTSTATUS
keep_acl(sim_object* object, const uint8_t* acl)
{
    uint32_t size = acl == NULL ? 0 : (uint32_t)acl[2] | (uint32_t)acl[3] << 8;

    if (acl != NULL && !sim_acl_valid(acl, size)) {
        return STATUS_INVALID_SECURITY_DESCR;
    }
    free(object->dacl);
    object->dacl = NULL;
    if (acl != NULL) {
        object->dacl = sim_allocate(size);
        memcpy(object->dacl, acl, size);
    }
    return STATUS_SUCCESS;
}

NTSTATUS
sim_access_set(sim_object* object, PSECURITY_DESCRIPTOR descriptor)
{
    if (descriptor == NULL) {
        return STATUS_SUCCESS;
    }
    if (*(const uint8_t*)descriptor != SECURITY_DESCRIPTOR_REVISION) {
        return STATUS_INVALID_SECURITY_DESCR;
    }
    return keep_acl(object, sim_descriptor_dacl(descriptor, &object->dacl_protected));
}

// Never inside an explicit transaction; in a dynamic session for its own dynamic objects only.
NTSTATUS
sim_access_change(sim_session* session, sim_object* object, SECURITY_INFORMATION information, const ACL* dacl)
{
    if (session->in_transaction) {
        return STATUS_FWP_TXN_IN_PROGRESS;
    }
    if (!sim_may(session, object, WRITE_DAC)) {
        return STATUS_ACCESS_DENIED;
    }
    if (session->dynamic && object->session != session) {
        return object->session == NULL ? STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS : STATUS_FWP_WRONG_SESSION;
    }
    return (information & DACL_SECURITY_INFORMATION) == 0 ? STATUS_SUCCESS : keep_acl(object, (const uint8_t*)dacl);
}
