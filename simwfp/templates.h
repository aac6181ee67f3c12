// Enumeration templates, as existing.c gives them to the enumeration.
#ifndef SIM_TEMPLATES_H
#define SIM_TEMPLATES_H

#include "classify.h"

#define SIM_TEMPLATE_CONDITIONS 64u

typedef struct sim_filter_template {
    const FWPM_FILTER_ENUM_TEMPLATE0* from;
    uint16_t layer;
    uint32_t condition_count;
    sim_condition conditions[SIM_TEMPLATE_CONDITIONS];
} sim_filter_template;

sim_template_matches sim_provider_matches;
sim_template_matches sim_context_matches;
sim_template_matches sim_sublayer_matches;
sim_template_matches sim_callout_matches;
sim_template_matches sim_filter_matches_template; // a sim_filter_template, the others the caller's own structure

NTSTATUS sim_filter_template_build(const FWPM_FILTER_ENUM_TEMPLATE0* from, sim_filter_template* built);
void sim_filter_template_free(sim_filter_template* built);

#endif
