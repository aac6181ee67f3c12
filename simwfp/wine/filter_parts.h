// FWPM_FILTER0 on its way from the caller's process into the simulated engine's: one flat block, pointers as offsets.
#ifndef SIM_WINE_FILTER_PARTS_H
#define SIM_WINE_FILTER_PARTS_H

#include "fwpmk.h"

#define SIM_FILTER_BYTES 65536u // of a flat filter, at most
#define FWP_E_INVALID_PARAMETER 0x80320035u

typedef struct sim_parts {
    uint8_t* bytes; // the filter is first
    size_t size;    // room when flattening, bytes there when restoring
    size_t used;
    int flatten;    // 1: pointer to offset (caller), 0: offset to pointer (engine)
    uint32_t error; // 0 or FWP_E_INVALID_PARAMETER
} sim_parts;

// Caller: copies `filter` and everything it points at.  Engine: makes the block usable in place, believing no offset.
uint32_t sim_filter_flatten(const FWPM_FILTER0* filter, void* bytes, size_t room, size_t* used);
uint32_t sim_filter_restore(void* bytes, size_t size);

#endif
