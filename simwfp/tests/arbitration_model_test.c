// Random set-ups of sublayers, weights, rights, vetoes and callouts against a second implementation of wfp-engine.md 2.2 to 2.9:
// a table of five states and six results, made from the text and not from classify.c.
#include "setups.h"

#define MAX_SUBLAYERS 6
#define MAX_FILTERS 4

typedef enum state { OPEN_NONE, OPEN_PERMIT, OPEN_BLOCK, HARD_PERMIT, HARD_BLOCK } state;
typedef enum result { NOTHING, SOFT_PERMIT, FIRM_PERMIT, SOFT_BLOCK, FIRM_BLOCK, VETO_BLOCK } result;

// 2.7, row by row: where each result leads from each state.
static const state after[5][6] = {
    [OPEN_NONE] = {OPEN_NONE, OPEN_PERMIT, HARD_PERMIT, OPEN_BLOCK, HARD_BLOCK, HARD_BLOCK},
    [OPEN_PERMIT] = {OPEN_PERMIT, OPEN_PERMIT, HARD_PERMIT, OPEN_BLOCK, HARD_BLOCK, HARD_BLOCK},
    [OPEN_BLOCK] = {OPEN_BLOCK, OPEN_PERMIT, HARD_PERMIT, OPEN_BLOCK, HARD_BLOCK, HARD_BLOCK},
    [HARD_PERMIT] = {HARD_PERMIT, HARD_PERMIT, HARD_PERMIT, HARD_PERMIT, HARD_PERMIT, HARD_BLOCK},
    [HARD_BLOCK] = {HARD_BLOCK, HARD_BLOCK, HARD_BLOCK, HARD_BLOCK, HARD_BLOCK, HARD_BLOCK},
};

typedef struct entry {
    char type;     // P B C t u i
    char function; // of a callout
    int clear, permit_if_unregistered, never;
    uint64_t weight;
    int number; // position in the set-up
} entry;

typedef struct level {
    uint16_t weight;
    int count;
    entry filters[MAX_FILTERS];
} level;

typedef struct verdict {
    state end;
    int winner; // position in the set-up; -1: none
    int calls, vetoes, broken;
    int decided[MAX_SUBLAYERS], decided_count;
} verdict;

static sim_knobs knobs;
static uint32_t random_state;

static uint32_t
below(uint32_t limit)
{
    random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
    return random_state % limit;
}

// ---- the model ----

static int
is_block(result r)
{
    return r == SOFT_BLOCK || r == FIRM_BLOCK || r == VETO_BLOCK;
}

static result
native(char type, const entry* e)
{
    if (type == 'P') {
        return e->clear ? FIRM_PERMIT : SOFT_PERMIT;
    }
    return e->clear || knobs.native_block_vetoes ? VETO_BLOCK : FIRM_BLOCK;
}

// 2.9, and its open question: under the knob a block of nobody's callout is soft where it could have been hard.
static result
unregistered(const entry* e, state s)
{
    result block = native('B', e);

    if (e->type == 'i') {
        return NOTHING;
    }
    if (e->permit_if_unregistered) {
        return native('P', e);
    }
    return knobs.unregistered_block_soft && s < HARD_PERMIT ? SOFT_BLOCK : block;
}

// What one callout does where it may decide (2.8).  The value that it found there counts if it leaves it.
static result
deciding(const entry* e, state s, verdict* v)
{
    int found = knobs.entry_action_so_far == 1 ? (int)s : OPEN_NONE;
    result r = NOTHING;

    switch (e->function) {
    case 'p':
    case 'w':
        r = SOFT_PERMIT;
        break;
    case 'P':
        r = FIRM_PERMIT;
        break;
    case 'b':
        r = SOFT_BLOCK;
        break;
    case 'B':
        r = FIRM_BLOCK;
        break;
    case '0':
    case 'r':
        r = found == OPEN_PERMIT ? SOFT_PERMIT : found == OPEN_BLOCK ? SOFT_BLOCK : NOTHING;
        break;
    default:
        break; // continue
    }
    if (e->type == 'i') {
        v->broken |= e->function != '0' && e->function != 'r' && r != NOTHING
                     && !((r == SOFT_PERMIT || r == FIRM_PERMIT) && found == OPEN_PERMIT)
                     && !(is_block(r) && found == OPEN_BLOCK);
        return NOTHING;
    }
    v->broken |= e->type == 't' && r == NOTHING;
    return r;
}

// Where it may not: a block over a permit is a veto, everything else is nobody's business.
static result
vetoing(const entry* e, state s, verdict* v)
{
    int repeats = knobs.entry_action_so_far != 2;

    v->broken |= e->function == 'r';
    if (e->function == 'w') {
        v->broken |= !(s == HARD_PERMIT && repeats);
    }
    if (e->function == 'b' || e->function == 'B') {
        v->broken |= s == HARD_BLOCK && !repeats;
        v->broken |= e->type == 'i' && !(s == HARD_BLOCK && repeats);
        return s == HARD_PERMIT && e->type != 'i' ? VETO_BLOCK : NOTHING;
    }
    if (e->function == 'w' && e->type == 'i') {
        v->broken |= !(s == HARD_PERMIT && repeats);
    }
    return NOTHING;
}

static result
ask(const entry* e, state s, verdict* v)
{
    switch (e->type) {
    case 'P':
    case 'B':
        return native(e->type, e);
    case 'C':
        return NOTHING;
    default:
        break;
    }
    if (e->function == '-') {
        return unregistered(e, s);
    }
    v->calls++;
    return s < HARD_PERMIT ? deciding(e, s, v) : vetoing(e, s, v);
}

static verdict
model(const level* levels, int count)
{
    verdict v = {.end = OPEN_NONE, .winner = -1};
    int permit = -1, block = -1;

    for (int i = 0; i < count; i++) {
        for (int j = 0; j < levels[i].count; j++) {
            const entry* e = &levels[i].filters[j];
            result r = e->never ? NOTHING : ask(e, v.end, &v);
            state next = after[v.end][r];

            if (r == NOTHING) {
                continue;
            }
            if (v.end == HARD_PERMIT && next == HARD_BLOCK) {
                v.vetoes++;
                block = e->number;
            } else if (is_block(r)) {
                block = block < 0 ? e->number : block;
            } else {
                permit = permit < 0 ? e->number : permit;
            }
            v.end = next;
            v.decided[v.decided_count++] = e->number;
            break;
        }
    }
    v.winner = v.end == OPEN_PERMIT || v.end == HARD_PERMIT ? permit : v.end == OPEN_NONE ? -1 : block;
    return v;
}

// ---- set-ups ----

static entry
random_entry(int natives)
{
    static const char types[] = "PPBBCtui";
    entry e = {.type = types[below(natives ? 5 : 8)], .function = script[below(FUNCTIONS)], .clear = below(3) == 0,
               .never = below(6) == 0};

    e.permit_if_unregistered = (e.type == 't' || e.type == 'u') && below(3) == 0;
    return e;
}

static void
write_setup(const level* levels, int count, char* text)
{
    *text = 0;
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < levels[i].count; j++) {
            const entry* e = &levels[i].filters[j];
            int callout = e->type == 't' || e->type == 'u' || e->type == 'i';

            text += sprintf(text, "%s%u:%c", i + j == 0 ? "" : " ", levels[i].weight, e->type);
            text += callout ? sprintf(text, "%c", e->function) : 0;
            text += sprintf(text, "%s%s%s@%llu", e->clear ? "!" : "", e->permit_if_unregistered ? "+" : "",
                            e->never ? "~" : "", (unsigned long long)e->weight);
        }
    }
}

// Heaviest first, as the engine hears them; `spread`: no two weights are equal.
static int
random_levels(level* levels, int natives, int spread)
{
    int count = 1 + (int)below(spread ? MAX_SUBLAYERS : 3), number = 0;

    for (int i = 0; i < count; i++) {
        levels[i].weight = (uint16_t)(spread ? 60 - 10 * i : 9);
        levels[i].count = 1 + (int)below(spread ? MAX_FILTERS : 3);
        for (int j = 0; j < levels[i].count; j++) {
            levels[i].filters[j] = random_entry(natives);
            levels[i].filters[j].weight = spread ? (uint64_t)(40 - 10 * j) : 7;
            levels[i].filters[j].number = number++;
        }
    }
    return count;
}

static void
check_setup(const char* text, const verdict* want, const outcome* got)
{
    int failures = check_failures;

    CHECK_EQUAL(got->blocked, want->end == OPEN_BLOCK || want->end == HARD_BLOCK);
    CHECK_EQUAL(got->classified.hard, want->end >= HARD_PERMIT);
    CHECK_EQUAL(got->classified.winner, want->winner < 0 ? 0 : got->ids[want->winner]);
    CHECK_EQUAL(got->classified.calls, want->calls);
    CHECK_EQUAL(got->classified.vetoes, want->vetoes);
    CHECK_EQUAL(got->classified.violations != 0, want->broken != 0);
    CHECK_EQUAL(got->classified.terminating_count, want->decided_count);
    for (int i = 0; i < want->decided_count; i++) {
        CHECK_EQUAL(got->classified.terminating[i], got->ids[want->decided[i]]);
    }
    if (check_failures != failures) {
        printf("# set-up %s, knobs %u %u %u\n", text, knobs.native_block_vetoes, knobs.unregistered_block_soft,
               knobs.entry_action_so_far);
    }
}

TEST(random_set_ups_end_as_the_state_table_says)
{
    uint32_t ends[5] = {0}, vetoes = 0;

    random_state = 20240611;
    for (uint32_t setting = 0; setting < 12; setting++) {
        knobs = (sim_knobs){.acquire_sets_block = 1, .native_block_vetoes = setting & 1,
                            .unregistered_block_soft = setting >> 1 & 1, .entry_action_so_far = setting >> 2};
        start(&knobs);
        for (int i = 0; i < 1500 && check_failures < 20; i++) {
            level levels[MAX_SUBLAYERS];
            char text[1024];
            int count = random_levels(levels, 0, 1);
            verdict want = model(levels, count);

            write_setup(levels, count, text);
            outcome got = run(text);
            check_setup(text, &want, &got);
            CHECK_EQUAL(got.classified.tie_dependent, 0);
            ends[want.end]++;
            vetoes += (uint32_t)want.vetoes;
        }
        stop();
    }
    for (int i = 0; i < 5; i++) {
        CHECK(ends[i] > 100); // every state is an end
    }
    CHECK(vetoes > 100);
}

// ---- ties: is the verdict the same in every order? ----

static int seen_blocked, seen_passed;

static void
note_order(const level* levels, int count)
{
    verdict v = model(levels, count);

    seen_blocked |= v.end == OPEN_BLOCK || v.end == HARD_BLOCK;
    seen_passed |= v.end != OPEN_BLOCK && v.end != HARD_BLOCK;
}

static void each_filter_order(level* levels, int count, int at, int fixed);

// Every order of the sublayers, whose weights are all equal, and in each every order of the filters.
static void
each_level_order(level* levels, int count, int fixed)
{
    if (fixed == count) {
        each_filter_order(levels, count, 0, 0);
        return;
    }
    for (int i = fixed; i < count; i++) {
        level kept = levels[fixed];

        levels[fixed] = levels[i], levels[i] = kept;
        each_level_order(levels, count, fixed + 1);
        levels[i] = levels[fixed], levels[fixed] = kept;
    }
}

static void
each_filter_order(level* levels, int count, int at, int fixed)
{
    if (at == count) {
        note_order(levels, count);
        return;
    }
    if (fixed == levels[at].count) {
        each_filter_order(levels, count, at + 1, 0);
        return;
    }
    for (int i = fixed; i < levels[at].count; i++) {
        entry kept = levels[at].filters[fixed];

        levels[at].filters[fixed] = levels[at].filters[i], levels[at].filters[i] = kept;
        each_filter_order(levels, count, at, fixed + 1);
        levels[at].filters[i] = levels[at].filters[fixed], levels[at].filters[fixed] = kept;
    }
}

TEST(a_verdict_depends_on_a_tie_exactly_when_some_order_gives_another)
{
    uint32_t dependent = 0, runs = 1500;

    random_state = 77;
    for (uint32_t i = 0; i < runs && check_failures < 20; i++) {
        level levels[MAX_SUBLAYERS];
        char text[1024];
        int count;

        knobs = (sim_knobs){.acquire_sets_block = 1, .tie_seed = i, .native_block_vetoes = i & 1};
        start(&knobs);
        count = random_levels(levels, 1, 0);
        for (int j = 0; j < count; j++) { // sublayers of another key each, and one weight
            FWPM_SUBLAYER0 twin = {.displayData = {.name = (PWSTR)L"s"}, .weight = 9,
                                   .subLayerKey = key((uint32_t)j + 1)};
            CHECK_EQUAL(FwpmSubLayerAdd0(engine, &twin, NULL), STATUS_SUCCESS);
            levels[j].weight = (uint16_t)(j + 1); // the name of the sublayer in the set-up
        }
        write_setup(levels, count, text);
        outcome got = run(text);
        seen_blocked = seen_passed = 0;
        each_level_order(levels, count, 0);
        CHECK(got.blocked ? seen_blocked : seen_passed);
        CHECK_EQUAL(got.classified.tie_dependent, seen_blocked && seen_passed);
        if (check_failures != 0) {
            printf("# set-up %s: blocked %d, any order: %d %d\n", text, got.blocked, seen_blocked, seen_passed);
        }
        dependent += got.classified.tie_dependent;
        stop();
    }
    CHECK(dependent > runs / 10 && dependent < runs * 9 / 10);
}
