// Address classes of RFC 6890 and its updates, as far as "never redirect this" depends on them.
#include "address.h"

typedef struct pm_prefix {
    uint8_t bytes[16];
    uint8_t bits;
    pm_address_kind kind;
} pm_prefix;

static const pm_prefix pm_v4_prefixes[] = {
    {{0}, 8, PM_ADDRESS_NOT_UNICAST},             // this network
    {{10}, 8, PM_ADDRESS_PRIVATE},                // RFC 1918
    {{100, 64}, 10, PM_ADDRESS_PRIVATE},          // shared address space, RFC 6598
    {{127}, 8, PM_ADDRESS_LOOPBACK},
    {{169, 254}, 16, PM_ADDRESS_PRIVATE},         // link-local
    {{172, 16}, 12, PM_ADDRESS_PRIVATE},          // RFC 1918
    {{192, 0, 0}, 24, PM_ADDRESS_PRIVATE},        // protocol assignments
    {{192, 168}, 16, PM_ADDRESS_PRIVATE},         // RFC 1918
    {{198, 18}, 15, PM_ADDRESS_PRIVATE},          // benchmarking
    {{224}, 4, PM_ADDRESS_NOT_UNICAST},           // multicast
    {{240}, 4, PM_ADDRESS_NOT_UNICAST},           // reserved, and 255.255.255.255
};

static const pm_prefix pm_v6_prefixes[] = {
    {{0}, 128, PM_ADDRESS_NOT_UNICAST},                                                 // ::
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, PM_ADDRESS_LOOPBACK},       // ::1
    {{0x01}, 64, PM_ADDRESS_NOT_UNICAST},                                               // 100::/64, discard
    {{0xFC}, 7, PM_ADDRESS_PRIVATE},                                                    // unique-local
    {{0xFE, 0x80}, 10, PM_ADDRESS_PRIVATE},                                             // link-local
    {{0xFE, 0xC0}, 10, PM_ADDRESS_PRIVATE},                                             // old site-local
    {{0xFF}, 8, PM_ADDRESS_NOT_UNICAST},                                                // multicast
};

static const uint8_t pm_nat64_prefix[12] = {0x00, 0x64, 0xFF, 0x9B};
static const uint8_t pm_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

int
pm_address_equal(const uint8_t* a, const uint8_t* b, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return 0;
        }
    }
    return 1;
}

int
pm_address_is_zero(const uint8_t* address, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (address[i] != 0) {
            return 0;
        }
    }
    return 1;
}

static int
in_prefix(const uint8_t* address, const pm_prefix* prefix)
{
    uint32_t whole = prefix->bits / 8u;
    uint32_t rest = prefix->bits % 8u;

    if (!pm_address_equal(address, prefix->bytes, whole)) {
        return 0;
    }
    return rest == 0 || ((address[whole] ^ prefix->bytes[whole]) >> (8u - rest)) == 0;
}

static pm_address_kind
kind_in(const uint8_t* address, const pm_prefix* table, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (in_prefix(address, &table[i])) {
            return table[i].kind;
        }
    }
    return PM_ADDRESS_PUBLIC;
}

pm_address_kind
pm_address_kind_v4(const uint8_t address[4])
{
    return kind_in(address, pm_v4_prefixes, sizeof(pm_v4_prefixes) / sizeof(pm_v4_prefixes[0]));
}

pm_address_kind
pm_address_kind_v6(const uint8_t address[16])
{
    uint8_t v4[4];

    if (pm_address_unmap(address, v4)) {
        return pm_address_kind_v4(v4);
    }
    if (pm_address_equal(address, pm_nat64_prefix, sizeof(pm_nat64_prefix))) {
        return pm_address_kind_v4(address + 12);
    }
    return kind_in(address, pm_v6_prefixes, sizeof(pm_v6_prefixes) / sizeof(pm_v6_prefixes[0]));
}

int
pm_address_unmap(const uint8_t v6[16], uint8_t v4[4])
{
    if (!pm_address_equal(v6, pm_mapped_prefix, sizeof(pm_mapped_prefix))) {
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        v4[i] = v6[12 + i];
    }
    return 1;
}

void
pm_address_map(const uint8_t v4[4], uint8_t v6[16])
{
    for (int i = 0; i < 12; i++) {
        v6[i] = pm_mapped_prefix[i];
    }
    for (int i = 0; i < 4; i++) {
        v6[12 + i] = v4[i];
    }
}
