// bcryptprimitives.dll for Wine 8.0, which has none: the one function that the Rust runtime in cryptography imports.
#include <stddef.h>
#include <stdint.h>

uint8_t SystemFunction036(void* to, uint32_t size); // advapi32: RtlGenRandom

int
ProcessPrng(uint8_t* to, size_t size)
{
    while (size != 0) {
        uint32_t part = size > 0x10000000 ? 0x10000000 : (uint32_t)size;

        if (!SystemFunction036(to, part)) {
            return 0;
        }
        to += part;
        size -= part;
    }
    return 1;
}
