// SIDs, tokens and security descriptors: the access check that an ALE_USER_ID condition is, and that BFE makes of its callers.
//
// Source: [MS-DTYP] 2.4.2 (SID), 2.4.4 (ACE), 2.4.6 (security descriptor); FWPM_FILTER_CONDITION0, "access check".
#include "sim.h"

#include <string.h>

#define SD_HEADER 20u
#define SD_DACL_OFFSET 16u
#define SD_DACL_PRESENT 0x0004u
#define SD_DACL_PROTECTED 0x1000u
#define SD_SELF_RELATIVE 0x8000u
#define ACL_HEADER 8u
#define ACE_INHERIT_ONLY 8u
#define ACE_ALLOWED 0u
#define ACE_DENIED 1u

static uint32_t
u16(const uint8_t* at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t
u32(const uint8_t* at)
{
    return u16(at) | u16(at + 2) << 16;
}

uint32_t
sim_sid_size(const void* sid)
{
    uint32_t count = ((const uint8_t*)sid)[1];

    return 8u + 4u * (count > 15 ? 15 : count);
}

void
sim_sid_copy(uint8_t to[68], const void* from)
{
    memset(to, 0, 68);
    memcpy(to, from, sim_sid_size(from));
}

int
sim_sids_equal(const void* a, const void* b)
{
    return sim_sid_size(a) == sim_sid_size(b) && memcmp(a, b, sim_sid_size(a)) == 0;
}

int
sim_acl_valid(const uint8_t* acl, uint32_t size)
{
    uint32_t at = ACL_HEADER;

    if (size < ACL_HEADER || u16(acl + 2) > size || u16(acl + 2) < ACL_HEADER) {
        return 0;
    }
    for (uint32_t i = 0; i < u16(acl + 4); i++) {
        uint32_t ace_size;

        if (at + 16 > u16(acl + 2)) {
            return 0;
        }
        ace_size = u16(acl + at + 2);
        if (ace_size < 8 + sim_sid_size(acl + at + 8) || at + ace_size > u16(acl + 2)) {
            return 0;
        }
        at += ace_size;
    }
    return 1;
}

static int
token_has(const sim_token* token, const uint8_t* sid)
{
    int has = sim_sids_equal(sid, token->user_sid) || sim_sids_equal(sid, token->package_sid);

    for (uint32_t i = 0; i < token->group_count; i++) {
        has = has || sim_sids_equal(sid, token->groups[i]);
    }
    return has;
}

// What a generic right stands for in the filter engine (fwpmtypes.h), and in a filter's condition.
static uint32_t
mapped(uint32_t mask)
{
    mask |= (mask & GENERIC_READ) != 0 ? FWPM_GENERIC_READ : 0;
    mask |= (mask & GENERIC_WRITE) != 0 ? FWPM_GENERIC_WRITE : 0;
    mask |= (mask & GENERIC_EXECUTE) != 0 ? FWPM_GENERIC_EXECUTE : 0;
    mask |= (mask & GENERIC_ALL) != 0 ? FWPM_GENERIC_ALL : 0;
    return mask;
}

int
sim_acl_walk(const uint8_t* acl, const sim_token* token, uint32_t* wanted)
{
    uint32_t at = ACL_HEADER;

    for (uint32_t i = 0; i < u16(acl + 4) && *wanted != 0; i++, at += u16(acl + at + 2)) {
        uint32_t mask = mapped(u32(acl + at + 4));

        if ((acl[at + 1] & ACE_INHERIT_ONLY) != 0 || !token_has(token, acl + at + 8)) {
            continue;
        }
        if (acl[at] == ACE_DENIED && (mask & *wanted) != 0) {
            return 1;
        }
        *wanted &= acl[at] == ACE_ALLOWED ? ~mask : ~0u;
    }
    return 0;
}

static const uint8_t*
dacl_of(const uint8_t* descriptor)
{
    uint32_t offset = u32(descriptor + SD_DACL_OFFSET);

    return (u16(descriptor + 2) & SD_DACL_PRESENT) == 0 || offset == 0 ? NULL : descriptor + offset;
}

int
sim_descriptor_valid(const uint8_t* descriptor, uint32_t size)
{
    uint32_t offset;

    if (size < SD_HEADER || descriptor[0] != 1 || (u16(descriptor + 2) & SD_SELF_RELATIVE) == 0) {
        return 0;
    }
    offset = u32(descriptor + SD_DACL_OFFSET);
    if (dacl_of(descriptor) == NULL) {
        return 1;
    }
    return offset >= SD_HEADER && offset <= size && sim_acl_valid(descriptor + offset, size - offset);
}

const uint8_t*
sim_descriptor_dacl(const void* descriptor, int* is_protected)
{
    uint32_t control = u16((const uint8_t*)descriptor + 2);

    *is_protected = (control & SD_DACL_PROTECTED) != 0;
    if ((control & SD_SELF_RELATIVE) != 0) {
        return dacl_of(descriptor);
    }
    return (control & SD_DACL_PRESENT) == 0 ? NULL : (const uint8_t*)((const SECURITY_DESCRIPTOR*)descriptor)->Dacl;
}

int
sim_descriptor_grants(const uint8_t* descriptor, const sim_token* token)
{
    const uint8_t* acl = dacl_of(descriptor);
    uint32_t wanted = FWP_ACTRL_MATCH_FILTER;

    return acl == NULL || (!sim_acl_walk(acl, token, &wanted) && wanted == 0);
}
