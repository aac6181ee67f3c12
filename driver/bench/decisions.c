// One kind of decision, many times: what `make bench-driver` counts instructions of.
//
//     decisions SCENARIO COUNT FILTERS      SCENARIO: no-proxy private redirect block
#include "../tests/machine.h"

static void
add_rules(uint32_t registration, uint32_t count, pm_verdict verdict)
{
    for (uint32_t i = 0; i < count; i++) { // rules about ports that nobody uses here
        FWPM_FILTER_CONDITION0 port = {FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL,
                                       {.type = FWP_UINT16, .uint16 = (uint16_t)(1000 + i)}};
        int redirect = verdict == PM_REDIRECT;

        (void)add_filter_with(
            redirect ? &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4 : &FWPM_LAYER_ALE_AUTH_CONNECT_V4,
            redirect ? &PM_CALLOUT_CONNECT_REDIRECT_V4 : &PM_CALLOUT_AUTH_CONNECT_V4, 100 + i,
            filter_context(registration, verdict, i), &port, 1);
    }
}

TEST(run)
{
    const char* scenario = getenv("SCENARIO");
    uint32_t count = (uint32_t)strtoul(getenv("COUNT"), NULL, 10);
    uint32_t filters = (uint32_t)strtoul(getenv("FILTERS"), NULL, 10);
    int block = strcmp(scenario, "block") == 0;
    sim_connect_request request = strcmp(scenario, "private") == 0 ? connect_v4(10, 0, 0, 1, 443)
                                                                   : connect_v4(203, 0, 113, 7, 443);
    uint32_t registration = 1;

    machine_start(NULL);
    if (strcmp(scenario, "no-proxy") != 0) {
        registration = register_pid(machine_file, PROXY);
    }
    add_rules(registration, filters, block ? PM_BLOCK : PM_REDIRECT);
    if (block) {
        add_block_filters(registration, 1);
    } else {
        add_redirect_filters(registration);
    }
    for (uint32_t i = 0; i < count; i++) {
        sim_connect_result result;

        sim_connect(&request, &result);
        CHECK(result.redirected == (strcmp(scenario, "redirect") == 0) && result.blocked == (uint32_t)block);
        sim_flow_close(result.flow);
    }
    machine_stop();
}
