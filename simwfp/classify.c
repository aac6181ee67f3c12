// One classification: sublayers by weight, filters by weight, arbitration by rights (wfp-engine.md 2.7, 5.2).
#define _GNU_SOURCE
#include "connection.h"

#include <string.h>

// ---- votes ----

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
check_contract(
    const sim_classification* run, const sim_object* filter, FWP_ACTION_TYPE entry, const FWPS_CLASSIFY_OUT0* out)
{
    int wrote = out->actionType != entry;

    if (!is_known_action(out->actionType)) {
        sim_violation("filter %llu: action 0x%X", (unsigned long long)filter->id, out->actionType);
    }
    if (!run->right && (out->rights & FWPS_RIGHT_ACTION_WRITE) != 0) {
        sim_violation("filter %llu: set a right it did not have", (unsigned long long)filter->id);
    }
    if (!run->right && wrote && !(run->action == FWP_ACTION_PERMIT && out->actionType == FWP_ACTION_BLOCK)) {
        sim_violation("filter %llu: wrote an action without the right", (unsigned long long)filter->id);
    }
    if (filter->action == FWP_ACTION_CALLOUT_INSPECTION
        && (out->actionType == FWP_ACTION_PERMIT || out->actionType == FWP_ACTION_BLOCK) && wrote) {
        sim_violation("filter %llu: an inspection callout decided", (unsigned long long)filter->id);
    }
    if (filter->action == FWP_ACTION_CALLOUT_TERMINATING && run->right
        && (out->actionType == FWP_ACTION_CONTINUE || out->actionType == FWP_ACTION_NONE)) {
        sim_violation("filter %llu: a terminating callout did not decide", (unsigned long long)filter->id);
    }
}

// What a callout's answer counts for.
static sim_vote
vote_of_out(const sim_classification* run, const sim_object* filter, const FWPS_CLASSIFY_OUT0* out)
{
    sim_vote vote = {FWP_ACTION_NONE, 0, 0};

    if (filter->action == FWP_ACTION_CALLOUT_INSPECTION
        || (out->actionType != FWP_ACTION_PERMIT && out->actionType != FWP_ACTION_BLOCK)) {
        return vote;
    }
    if (run->right) {
        vote.action = out->actionType;
        vote.hard = (out->rights & FWPS_RIGHT_ACTION_WRITE) == 0;
    } else if (run->action == FWP_ACTION_PERMIT && out->actionType == FWP_ACTION_BLOCK) {
        vote = (sim_vote){FWP_ACTION_BLOCK, 1, 1};
    }
    if (vote.action == FWP_ACTION_BLOCK) {
        run->result->absorbed = (out->flags & FWPS_CLASSIFY_OUT_FLAG_ABSORB) != 0;
    }
    return vote;
}

// What actionType says when a callout is called: undocumented.
static FWP_ACTION_TYPE
entry_action(const sim_classification* run)
{
    if (sim_settings.entry_action_so_far == 1) {
        return run->action;
    }
    return run->right || sim_settings.entry_action_so_far == 2 ? (FWP_ACTION_TYPE)FWP_ACTION_NONE : run->action;
}

static sim_vote
callout_vote(sim_classification* run, sim_object* filter, sim_callout_function* function)
{
    sim_vote none = {FWP_ACTION_NONE, 0, 0};
    FWPS_CLASSIFY_OUT0 out = {0};
    FWP_ACTION_TYPE entry = entry_action(run);
    uint64_t flow_context = sim_flow_context_of(run->flow, run->values->layerId, function->id);
    sim_pending* pending = run->context;
    KIRQL irql;

    if ((function->callout.flags & FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW) != 0 && flow_context == 0) {
        return none;
    }
    irql = sim_raise_irql((KIRQL)sim_settings.classify_irql);
    out.actionType = entry;
    out.rights = run->right ? FWPS_RIGHT_ACTION_WRITE : 0;
    out.filterId = filter->id;
    run->result->calls++;
    function->callout.classifyFn(
        run->values, run->metadata, NULL, run->context, &filter->run_time, flow_context, &out);
    sim_lower_irql(irql);
    sim_callout_returned(run->context);
    if (pending != NULL && pending->pended) {
        (void)__atomic_add_fetch(&function->pended, 1, __ATOMIC_SEQ_CST);
        run->pended = 1;
        run->pended_callout = &filter->callout->key;
        run->resume_sublayer = filter->sublayer;
        run->resume_filter = filter;
        return none;
    }
    check_contract(run, filter, entry, &out);
    return vote_of_out(run, filter, &out);
}

static sim_vote
vote_of(sim_classification* run, sim_object* filter)
{
    sim_vote none = {FWP_ACTION_NONE, 0, 0};
    sim_callout_function* function;

    if (filter->action == FWP_ACTION_PERMIT || filter->action == FWP_ACTION_BLOCK) {
        return native_vote(filter, filter->action);
    }
    if (filter->action == FWP_ACTION_CONTINUE) {
        return none;
    }
    function = sim_callout_of(&filter->callout->key);
    return function == NULL ? unregistered_vote(filter) : callout_vote(run, filter, function);
}

// ---- arbitration between sublayers ----

int
sim_classification_merge(FWP_ACTION_TYPE* action, int* right, sim_vote vote)
{
    if (*right) {
        *action = vote.action;
        *right = !vote.hard;
        return 0;
    }
    if (*action == FWP_ACTION_PERMIT && vote.action == FWP_ACTION_BLOCK && vote.veto) {
        *action = FWP_ACTION_BLOCK;
        return 1;
    }
    return 0;
}

static void
merge(sim_classification* run, sim_vote vote, uint64_t filter_id)
{
    if (sim_classification_merge(&run->action, &run->right, vote)) {
        run->block_by = 0; // the vetoing filter is the winner
        run->result->vetoes++;
    }
    if (vote.action == FWP_ACTION_PERMIT && run->permit_by == 0) {
        run->permit_by = filter_id;
    }
    if (vote.action == FWP_ACTION_BLOCK && run->block_by == 0) {
        run->block_by = filter_id;
    }
    if (run->result->terminating_count < SIM_MAX_TERMINATING) {
        run->result->terminating[run->result->terminating_count++] = filter_id;
    }
}

// After the decision: what filters of the same weight would have said in its place.
static void
note_equals(sim_classification* run, sim_candidates* candidates, const sim_object* decider, sim_vote vote)
{
    sim_ballot* ballot;
    const sim_object* filter;

    if (run->ballot_count == SIM_MAX_BALLOTS) {
        return;
    }
    ballot = &run->ballots[run->ballot_count++];
    *ballot = (sim_ballot){.weight = decider->sublayer->weight, .count = 1, .votes = {vote}};
    while ((filter = sim_candidates_next(candidates)) != NULL && filter->filter_weight == decider->filter_weight) {
        sim_vote other = {FWP_ACTION_NONE, 0, 0};
        int callout = filter->callout != NULL && sim_callout_of(&filter->callout->key) != NULL;

        if (!sim_filter_matches(filter, run->values) || filter->action == FWP_ACTION_CALLOUT_INSPECTION) {
            continue;
        }
        if (filter->action == FWP_ACTION_PERMIT || filter->action == FWP_ACTION_BLOCK) {
            other = native_vote(filter, filter->action);
        } else if (filter->callout != NULL && !callout) {
            other = unregistered_vote(filter);
        }
        ballot->unknown |= callout;
        if (other.action != FWP_ACTION_NONE && ballot->count < sizeof(ballot->votes) / sizeof(ballot->votes[0])
            && memcmp(&other, &ballot->votes[ballot->count - 1], sizeof(other)) != 0) {
            ballot->votes[ballot->count++] = other;
        }
    }
}

static void
run_sublayer(sim_classification* run, uint32_t position, const sim_object* after)
{
    sim_candidates candidates;
    sim_object* filter;
    sim_vote vote = {FWP_ACTION_NONE, 0, 0};

    sim_candidates_start(&candidates, run->values->layerId, position, run->values);
    while ((filter = sim_candidates_next(&candidates)) != NULL && !run->pended) {
        run->result->examined++;
        if ((after != NULL && sim_by_weight(filter, after) <= 0) || !sim_filter_matches(filter, run->values)) {
            continue;
        }
        vote = vote_of(run, filter);
        if (vote.action != FWP_ACTION_NONE) {
            merge(run, vote, filter->id);
            note_equals(run, &candidates, filter, vote);
            break;
        }
    }
    sim_candidates_end(&candidates);
}

static void
finish(sim_classification* run, uint32_t violations)
{
    sim_classify_result* result = run->result;

    result->action = run->action;
    result->hard = !run->right;
    result->winner = run->action == FWP_ACTION_PERMIT ? run->permit_by
                     : run->action == FWP_ACTION_BLOCK ? run->block_by
                                                       : 0;
    result->violations += sim_violations() - violations;
    result->tie_dependent = (uint32_t)sim_tie_dependent(run);
    sim_trace_add(run);
}

// Every sublayer has its say, also after a block.  `resume_sublayer`: go on behind the filter that was pended.
static void
run_layer(sim_classification* run)
{
    uint16_t layer = run->values->layerId;
    uint32_t violations = sim_violations();
    const sim_object* sublayer = run->resume_sublayer;
    const sim_object* filter = run->resume_filter;

    run->resume_sublayer = NULL;
    run->resume_filter = NULL;
    sim_index_lock_shared();
    for (uint32_t i = 0; i < sim_index_sublayers(layer) && !run->pended; i++) {
        const sim_object* at = sim_index_sublayer(layer, i);

        if (sublayer != NULL && sim_by_weight(at, sublayer) < 0) {
            continue; // has been heard
        }
        if (at == sublayer && run->resume_vote.action != FWP_ACTION_NONE) {
            merge(run, run->resume_vote, filter->id);
            continue;
        }
        run_sublayer(run, i, at == sublayer ? filter : NULL);
    }
    sim_index_unlock();
    if (!run->pended) {
        finish(run, violations);
    }
}

void
sim_classify(sim_classification* run)
{
    *run->result = (sim_classify_result){0};
    run->action = FWP_ACTION_NONE;
    run->right = 1;
    run_layer(run);
}

// `out`: what the completion of the pended classify says; NULL: nothing (AUTH_CONNECT is asked again instead).
void
sim_classify_resume(sim_classification* run, const FWPS_CLASSIFY_OUT0* out)
{
    sim_vote none = {FWP_ACTION_NONE, 0, 0};

    sim_classify_forget(run);
    *run->result = (sim_classify_result){0};
    run->resume_vote = out == NULL ? none : vote_of_out(run, run->resume_filter, out);
    run_layer(run);
}

// Gives up a pended classification.
void
sim_classify_forget(sim_classification* run)
{
    sim_callout_function* function = run->pended ? sim_callout_of(run->pended_callout) : NULL;

    if (function != NULL) {
        (void)__atomic_sub_fetch(&function->pended, 1, __ATOMIC_SEQ_CST);
    }
    run->pended = 0;
}
