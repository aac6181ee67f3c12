// Address classes of RFC 6890 and its updates, as far as "never redirect this" depends on them.
#include "address.h"

static const uint8_t pm_nat64_prefix[12] = {0x00, 0x64, 0xFF, 0x9B};
static const uint8_t pm_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

int pm_address_equal(const uint8_t* a, const uint8_t* b, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return 0;
        }
    }
    return 1;
}

int pm_address_is_zero(const uint8_t* address, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        if (address[i] != 0) {
            return 0;
        }
    }
    return 1;
}

// By the first byte, since every classify of a live proxy comes through here: a jump instead of a walk.
pm_address_kind pm_address_kind_v4(const uint8_t address[4]) {
    uint8_t second = address[1];

    switch (address[0]) {
    case 0: // this network
        return PM_ADDRESS_NOT_UNICAST;
    case 10: // RFC 1918
        return PM_ADDRESS_PRIVATE;
    case 100: // 100.64.0.0/10, shared address space, RFC 6598
        return (second & 0xC0) == 64 ? PM_ADDRESS_PRIVATE : PM_ADDRESS_PUBLIC;
    case 127:
        return PM_ADDRESS_LOOPBACK;
    case 169: // link-local
        return second == 254 ? PM_ADDRESS_PRIVATE : PM_ADDRESS_PUBLIC;
    case 172: // 172.16.0.0/12, RFC 1918
        return (second & 0xF0) == 16 ? PM_ADDRESS_PRIVATE : PM_ADDRESS_PUBLIC;
    case 192: // RFC 1918; 192.0.0.0/24, protocol assignments
        return second == 168 || (second == 0 && address[2] == 0) ? PM_ADDRESS_PRIVATE : PM_ADDRESS_PUBLIC;
    case 198: // 198.18.0.0/15, benchmarking
        return (second & 0xFE) == 18 ? PM_ADDRESS_PRIVATE : PM_ADDRESS_PUBLIC;
    default: // multicast, reserved, broadcast
        return address[0] >= 224 ? PM_ADDRESS_NOT_UNICAST : PM_ADDRESS_PUBLIC;
    }
}

// ::, ::1, and the IPv4 addresses inside: mapped, and 64:ff9b::/96 (NAT64).
static pm_address_kind kind_below_0100(const uint8_t address[16]) {
    if (pm_address_equal(address, pm_mapped_prefix, sizeof(pm_mapped_prefix))
        || pm_address_equal(address, pm_nat64_prefix, sizeof(pm_nat64_prefix))) {
        return pm_address_kind_v4(address + 12);
    }
    if (!pm_address_is_zero(address, 15) || address[15] > 1) {
        return PM_ADDRESS_PUBLIC;
    }
    return address[15] == 1 ? PM_ADDRESS_LOOPBACK : PM_ADDRESS_NOT_UNICAST;
}

pm_address_kind pm_address_kind_v6(const uint8_t address[16]) {
    switch (address[0]) {
    case 0x00:
        return kind_below_0100(address);
    case 0x01: // 100::/64, discard
        return pm_address_is_zero(address + 1, 7) ? PM_ADDRESS_NOT_UNICAST : PM_ADDRESS_PUBLIC;
    case 0xFC: // unique-local
    case 0xFD:
        return PM_ADDRESS_PRIVATE;
    case 0xFE: // fe80::/10, link-local, and fec0::/10, which was site-local
        return (address[1] & 0x80) != 0 ? PM_ADDRESS_PRIVATE : PM_ADDRESS_PUBLIC;
    case 0xFF: // multicast
        return PM_ADDRESS_NOT_UNICAST;
    default:
        return PM_ADDRESS_PUBLIC;
    }
}

int pm_address_unmap(const uint8_t v6[16], uint8_t v4[4]) {
    if (!pm_address_equal(v6, pm_mapped_prefix, sizeof(pm_mapped_prefix))) {
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        v4[i] = v6[12 + i];
    }
    return 1;
}

void pm_address_map(const uint8_t v4[4], uint8_t v6[16]) {
    for (int i = 0; i < 12; i++) {
        v6[i] = pm_mapped_prefix[i];
    }
    for (int i = 0; i < 4; i++) {
        v6[12 + i] = v4[i];
    }
}
