// What kind of place an address is: pure, network byte order in, no Windows name.
#ifndef PM_ADDRESS_H
#define PM_ADDRESS_H

#include <stdint.h>

typedef enum pm_address_kind {
    PM_ADDRESS_PUBLIC = 0, // anything that is none of the others; documentation prefixes count as public
    PM_ADDRESS_LOOPBACK,
    PM_ADDRESS_PRIVATE,     // private, shared (CGNAT), link-local, unique-local, protocol assignments, benchmarking
    PM_ADDRESS_NOT_UNICAST, // unspecified, multicast, broadcast, reserved, discard
} pm_address_kind;

pm_address_kind pm_address_kind_v4(const uint8_t address[4]);
pm_address_kind pm_address_kind_v6(const uint8_t address[16]); // NAT64 (64:ff9b::/96) counts as the IPv4 inside

// 1 and the four bytes in `v4` if the address is IPv4-mapped (::ffff:0:0/96), else 0.
int pm_address_unmap(const uint8_t v6[16], uint8_t v4[4]);
void pm_address_map(const uint8_t v4[4], uint8_t v6[16]);
int pm_address_is_zero(const uint8_t* address, uint32_t size);
int pm_address_equal(const uint8_t* a, const uint8_t* b, uint32_t size);

#endif
