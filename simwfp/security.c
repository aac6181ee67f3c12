// SIDs, tokens and self-relative security descriptors: the access check that an ALE_USER_ID condition is.
//
// Source: [MS-DTYP] 2.4.2 (SID), 2.4.4 (ACE), 2.4.6 (security descriptor); FWPM_FILTER_CONDITION0, "access check".
#include "sim.h"

#include <string.h>

#define SD_HEADER 20u
#define SD_DACL_OFFSET 16u
#define SD_DACL_PRESENT 0x0004u
#define SD_SELF_RELATIVE 0x8000u
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

static const uint8_t*
dacl_of(const uint8_t* descriptor)
{
    uint32_t offset = u32(descriptor + SD_DACL_OFFSET);

    return (u16(descriptor + 2) & SD_DACL_PRESENT) == 0 || offset == 0 ? NULL : descriptor + offset;
}

int
sim_descriptor_valid(const uint8_t* descriptor, uint32_t size)
{
    const uint8_t* acl;
    uint32_t at = 8;
    uint32_t offset;

    if (size < SD_HEADER || descriptor[0] != 1 || (u16(descriptor + 2) & SD_SELF_RELATIVE) == 0) {
        return 0;
    }
    acl = dacl_of(descriptor);
    if (acl == NULL) {
        return 1;
    }
    offset = u32(descriptor + SD_DACL_OFFSET);
    if (offset < SD_HEADER || offset + 8u > size || offset + u16(acl + 2) > size || u16(acl + 2) < 8) {
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

// The first entry that speaks of the right and of one of the SIDs decides; none: denied.  No DACL: granted.
int
sim_descriptor_grants(const uint8_t* descriptor, const uint8_t user_sid[68], const uint8_t package_sid[68])
{
    const uint8_t* acl = dacl_of(descriptor);
    uint32_t at = 8;

    if (acl == NULL) {
        return 1;
    }
    for (uint32_t i = 0; i < u16(acl + 4); i++, at += u16(acl + at + 2)) {
        const uint8_t* sid = acl + at + 8;
        int right = (u32(acl + at + 4) & (FWP_ACTRL_MATCH_FILTER | GENERIC_ALL)) != 0;

        if (right && (sim_sids_equal(sid, user_sid) || sim_sids_equal(sid, package_sid))
            && (acl[at] == ACE_ALLOWED || acl[at] == ACE_DENIED)) {
            return acl[at] == ACE_ALLOWED;
        }
    }
    return 0;
}
