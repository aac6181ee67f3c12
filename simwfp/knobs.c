// What Windows leaves open, as settings: those of the caller, and those of the environment over its defaults.
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sim_knobs sim_settings;

typedef struct sim_knob_name {
    const char* name;
    size_t offset;
} sim_knob_name;

#define KNOB(name) {#name, offsetof(sim_knobs, name)}
static const sim_knob_name sim_knob_names[] = {
    KNOB(native_block_vetoes), KNOB(acquire_sets_block), KNOB(block_at_redirect), KNOB(local_address_writable),
    KNOB(v4mapped_v6_only), KNOB(auth_twice), KNOB(auto_weight), KNOB(tie_order), KNOB(tie_seed),
    KNOB(entry_action_so_far), KNOB(empty_matches_not_equal), KNOB(unregistered_block_soft), KNOB(reauth_block_drops),
    KNOB(peer_is_redirected), KNOB(classify_irql),
};

static void
set_from_environment(const char* text, const sim_knobs* defaults)
{
    while (*text != 0) {
        size_t length = strcspn(text, "=");
        const sim_knob_name* found = NULL;
        char* rest;

        for (size_t i = 0; i < sizeof(sim_knob_names) / sizeof(sim_knob_names[0]); i++) {
            if (strlen(sim_knob_names[i].name) == length && strncmp(sim_knob_names[i].name, text, length) == 0) {
                found = &sim_knob_names[i];
            }
        }
        if (found == NULL || text[length] != '=') {
            (void)fprintf(stderr, "simwfp: SIMWFP_KNOBS: no such knob: %s\n", text);
            abort(); // a misspelt knob would test nothing
        }
        uint32_t value = (uint32_t)strtoul(text + length + 1, &rest, 10);
        uint32_t* knob = (uint32_t*)(void*)((char*)&sim_settings + found->offset);

        if (*knob == *(const uint32_t*)(const void*)((const char*)defaults + found->offset)) {
            *knob = value;
        }
        text = *rest == ',' ? rest + 1 : rest;
    }
}

void
sim_knobs_set(const sim_knobs* knobs)
{
    static const sim_knobs defaults = {.acquire_sets_block = 1};
    const char* text = getenv("SIMWFP_KNOBS");

    sim_settings = knobs == NULL ? defaults : *knobs;
    if (text != NULL) {
        set_from_environment(text, &defaults);
    }
}

const sim_knobs*
sim_knobs_now(void)
{
    return &sim_settings;
}
