// Would another order of equal weights have given another verdict?  Windows documents no order, so such a verdict is luck.
//
// Each sublayer is a ballot: the vote that counted, and the votes of equal filters that could have counted instead.  Sublayers of
// equal weight may be heard in any order.  All combinations are tried; there are few, or the answer is yes.
#include "classify.h"

#define SIM_MAX_TRIES 4096u

typedef struct sim_search {
    const sim_classification* run;
    uint32_t tries;
    int differs;
    uint32_t used; // ballots heard, a bit each
} sim_search;

static void
search(sim_search* s, uint32_t heard, FWP_ACTION_TYPE action, int right)
{
    const sim_classification* run = s->run;

    if (s->differs || ++s->tries > SIM_MAX_TRIES) {
        s->differs = 1;
        return;
    }
    if (heard == run->ballot_count) {
        s->differs = action != run->action;
        return;
    }
    for (uint32_t i = 0; i < run->ballot_count; i++) {
        // Next is any unheard ballot of the weight that is due: the ballots are in order of weight.
        if ((s->used & 1u << i) != 0 || run->ballots[i].weight != run->ballots[heard].weight) {
            continue;
        }
        s->used |= 1u << i;
        for (uint32_t j = 0; j < run->ballots[i].count; j++) {
            FWP_ACTION_TYPE next_action = action;
            int next_right = right;

            (void)sim_classification_merge(&next_action, &next_right, run->ballots[i].votes[j]);
            search(s, heard + 1, next_action, next_right);
        }
        s->used &= ~(1u << i);
    }
}

int
sim_tie_dependent(const sim_classification* run)
{
    sim_search s = {.run = run};
    int ties = 0;

    for (uint32_t i = 0; i < run->ballot_count; i++) {
        if (run->ballots[i].unknown) {
            return 1; // a callout of equal weight was not asked: nobody knows what it would have said
        }
        ties |= run->ballots[i].count > 1 || (i > 0 && run->ballots[i].weight == run->ballots[i - 1].weight);
    }
    if (ties) {
        search(&s, 0, FWP_ACTION_NONE, 1);
    }
    return s.differs;
}
