// One classification: sublayers by weight, filters by weight, arbitration by rights (wfp-engine.md 2.7, 5.2).
#include "sim.h"

typedef struct sim_state {
    FWP_ACTION_TYPE action; // NONE, PERMIT, BLOCK
    int right;              // FWPS_RIGHT_ACTION_WRITE is there
    uint64_t permit_by;
    uint64_t block_by;
    sim_classify_result* result;
} sim_state;

typedef struct sim_vote {
    FWP_ACTION_TYPE action; // NONE: no decision
    int hard;
    int veto;
} sim_vote;

static sim_vote
native_vote(const sim_object* filter, FWP_ACTION_TYPE action)
{
    int clear = (filter->flags & FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT) != 0;
    sim_vote vote = {action, clear, 0};

    if (action == FWP_ACTION_BLOCK) {
        vote.hard = 1;
        vote.veto = clear || sim_settings.native_block_vetoes;
    }
    return vote;
}

static sim_vote
unregistered_vote(const sim_object* filter)
{
    sim_vote none = {FWP_ACTION_NONE, 0, 0};

    if (filter->action == FWP_ACTION_CALLOUT_INSPECTION) {
        return none;
    }
    if ((filter->flags & FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED) != 0) {
        return native_vote(filter, FWP_ACTION_PERMIT);
    }
    sim_vote block = native_vote(filter, FWP_ACTION_BLOCK);
    block.hard = !sim_settings.unregistered_block_soft;
    return block;
}

static int
is_known_action(FWP_ACTION_TYPE action)
{
    return action == FWP_ACTION_PERMIT || action == FWP_ACTION_BLOCK || action == FWP_ACTION_CONTINUE
           || action == FWP_ACTION_NONE;
}

static void
check_contract(const sim_state* state, const sim_object* filter, FWP_ACTION_TYPE entry, const FWPS_CLASSIFY_OUT0* out)
{
    int wrote = out->actionType != entry;

    if (!is_known_action(out->actionType)) {
        sim_violation("filter %llu: action 0x%X", (unsigned long long)filter->id, out->actionType);
    }
    if (!state->right && (out->rights & FWPS_RIGHT_ACTION_WRITE) != 0) {
        sim_violation("filter %llu: set a right it did not have", (unsigned long long)filter->id);
    }
    if (!state->right && wrote && !(state->action == FWP_ACTION_PERMIT && out->actionType == FWP_ACTION_BLOCK)) {
        sim_violation("filter %llu: wrote an action without the right", (unsigned long long)filter->id);
    }
    if (filter->action == FWP_ACTION_CALLOUT_INSPECTION
        && (out->actionType == FWP_ACTION_PERMIT || out->actionType == FWP_ACTION_BLOCK) && wrote) {
        sim_violation("filter %llu: an inspection callout decided", (unsigned long long)filter->id);
    }
    if (filter->action == FWP_ACTION_CALLOUT_TERMINATING && state->right
        && (out->actionType == FWP_ACTION_CONTINUE || out->actionType == FWP_ACTION_NONE)) {
        sim_violation("filter %llu: a terminating callout did not decide", (unsigned long long)filter->id);
    }
}

static sim_vote
callout_vote(
    sim_state* state, const sim_object* filter, const sim_callout_function* function,
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* context)
{
    sim_vote vote = {FWP_ACTION_NONE, 0, 0};
    FWPS_CLASSIFY_OUT0 out = {0};
    FWP_ACTION_TYPE entry = state->right && !sim_settings.entry_action_so_far ? (FWP_ACTION_TYPE)FWP_ACTION_NONE
                                                                             : state->action;
    KIRQL irql = sim_raise_irql((KIRQL)sim_settings.classify_irql);

    out.actionType = entry;
    out.rights = state->right ? FWPS_RIGHT_ACTION_WRITE : 0;
    out.filterId = filter->id;
    state->result->calls++;
    function->callout.classifyFn(values, metadata, NULL, context, &filter->run_time, 0, &out);
    sim_lower_irql(irql);
    sim_callout_returned(context);
    check_contract(state, filter, entry, &out);
    if (filter->action == FWP_ACTION_CALLOUT_INSPECTION) {
        return vote;
    }
    if (out.actionType != FWP_ACTION_PERMIT && out.actionType != FWP_ACTION_BLOCK) {
        return vote;
    }
    if (state->right) {
        vote.action = out.actionType;
        vote.hard = (out.rights & FWPS_RIGHT_ACTION_WRITE) == 0;
    } else if (state->action == FWP_ACTION_PERMIT && out.actionType == FWP_ACTION_BLOCK) {
        vote = (sim_vote){FWP_ACTION_BLOCK, 1, 1};
    }
    return vote;
}

static sim_vote
vote_of(
    sim_state* state, const sim_object* filter, const FWPS_INCOMING_VALUES0* values,
    const FWPS_INCOMING_METADATA_VALUES0* metadata, void* context)
{
    sim_vote none = {FWP_ACTION_NONE, 0, 0};
    const sim_callout_function* function;

    if (filter->action == FWP_ACTION_PERMIT || filter->action == FWP_ACTION_BLOCK) {
        return native_vote(filter, filter->action);
    }
    if (filter->action == FWP_ACTION_CONTINUE) {
        return none;
    }
    function = sim_engine_callout(&filter->callout->key);
    return function == NULL ? unregistered_vote(filter)
                            : callout_vote(state, filter, function, values, metadata, context);
}

static void
merge(sim_state* state, sim_vote vote, uint64_t filter_id)
{
    if (state->right) {
        state->action = vote.action;
        state->right = !vote.hard;
    } else if (state->action == FWP_ACTION_PERMIT && vote.action == FWP_ACTION_BLOCK && vote.veto) {
        state->action = FWP_ACTION_BLOCK;
        state->block_by = 0; // the vetoing filter is the winner
        state->result->vetoes++;
    }
    if (vote.action == FWP_ACTION_PERMIT && state->permit_by == 0) {
        state->permit_by = filter_id;
    }
    if (vote.action == FWP_ACTION_BLOCK && state->block_by == 0) {
        state->block_by = filter_id;
    }
}

void
sim_classify(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* classify_context,
    sim_classify_result* result)
{
    const sim_layer_view* view;
    sim_state state = {FWP_ACTION_NONE, 1, 0, 0, result};
    uint32_t violations = sim_violations();
    uint32_t i = 0;

    *result = (sim_classify_result){0};
    sim_engine_lock_shared();
    view = sim_engine_view(values->layerId);
    while (i < view->count) { // every sublayer has its say, also after a block
        const sim_object* sublayer = view->filters[i]->sublayer;
        int decided = 0;

        for (; i < view->count && view->filters[i]->sublayer == sublayer; i++) {
            sim_vote vote;

            if (decided || !sim_filter_matches(view->filters[i], values)) {
                continue;
            }
            vote = vote_of(&state, view->filters[i], values, metadata, classify_context);
            if (vote.action != FWP_ACTION_NONE) {
                merge(&state, vote, view->filters[i]->id);
                decided = 1;
            }
        }
    }
    sim_engine_unlock();
    result->action = state.action;
    result->hard = !state.right;
    result->winner = state.action == FWP_ACTION_PERMIT ? state.permit_by
                     : state.action == FWP_ACTION_BLOCK ? state.block_by
                                                        : 0;
    result->violations = sim_violations() - violations;
}
