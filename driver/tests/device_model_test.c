// Everything that can happen to registrations, through the device, against a model of ten lines: who is active, who is
// exempt, and that the driver holds a reference to exactly the processes that are registered.
#include "machine.h"

#define PROCESSES 6
#define MS 10000ull

typedef struct actor {
    uint32_t pid;
    int alive;
    sim_file* file;
    uint32_t number; // of its registration; 0: none
    int through;     // whose handle it was made through
    uint64_t lease_end;
} actor;

static actor actors[PROCESSES];
static int order[PROCESSES]; // registered ones, oldest first
static int registered;
static uint32_t random_state;
static sim_file* looker;
static HANDLE looker_engine;

static uint32_t
below(uint32_t limit)
{
    random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
    return random_state % limit;
}

// ---- the model ----

static void
model_remove(int who)
{
    int kept = 0;

    for (int i = 0; i < registered; i++) {
        if (order[i] != who) {
            order[kept++] = order[i];
        }
    }
    registered = kept;
    actors[who].number = 0;
}

static int
model_active(void)
{
    for (int i = registered; i-- > 0;) {
        if (sim_now() < actors[order[i]].lease_end) {
            return order[i];
        }
    }
    return -1;
}

static void
model_closed(int whose)
{
    for (int i = 0; i < PROCESSES; i++) {
        if (actors[i].number != 0 && actors[i].through == whose) {
            model_remove(i);
        }
    }
}

static void
model_register(int who, int through, uint32_t number)
{
    if (actors[who].number == 0) {
        if (registered == (int)PM_MAX_REGISTRATIONS) {
            int drop = order[0];
            for (int i = registered; i-- > 0;) {
                drop = sim_now() >= actors[order[i]].lease_end ? order[i] : drop;
            }
            model_remove(drop);
        }
        order[registered++] = who;
        actors[who].number = number;
    }
    actors[who].through = through;
    actors[who].lease_end = sim_now() + 3000 * MS;
}

// ---- what can happen ----

static void
open_file(int who)
{
    if (actors[who].file == NULL) {
        CHECK_EQUAL(sim_open(actors[who].pid, 3, NULL, &actors[who].file), STATUS_SUCCESS);
    }
}

// Mostly through its own handle; sometimes through one that it inherited, even of a process that is gone.
static void
step_register(int who)
{
    int through = below(3) == 0 ? (int)below(PROCESSES) : who;

    open_file(who);
    through = actors[through].file == NULL ? who : through;
    model_register(who, through, register_pid(actors[through].file, actors[who].pid));
}

static void
step_own(int who, uint32_t code)
{
    int had = actors[who].number != 0;

    open_file(who);
    NTSTATUS status = registration_ioctl(actors[who].file, actors[who].pid, code, had ? actors[who].number : 0xFFFF);
    CHECK_EQUAL(status, had ? STATUS_SUCCESS : STATUS_NOT_FOUND);
    if (had && code == PM_IOCTL_WITHDRAW) {
        model_remove(who);
    } else if (had) {
        actors[who].lease_end = sim_now() + 3000 * MS;
    }
}

static void
step_other(int who)
{
    int victim = (int)below(PROCESSES);

    open_file(who);
    if (victim != who && actors[victim].number != 0) {
        uint32_t code = below(2) == 0 ? PM_IOCTL_WITHDRAW : PM_IOCTL_RENEW;
        CHECK_EQUAL(
            registration_ioctl(actors[who].file, actors[who].pid, code, actors[victim].number), STATUS_ACCESS_DENIED);
    }
}

static void
step_close(int who)
{
    if (actors[who].file != NULL) {
        if (below(2) == 0) {
            sim_cleanup(actors[who].file, actors[below(PROCESSES)].pid); // the last handle, in whoever's context
        }
        sim_close(actors[who].file);
        actors[who].file = NULL;
        model_closed(who);
    }
}

static void
step_exit(int who)
{
    sim_process_exit(actors[who].pid);
    actors[who].alive = 0;
    model_remove(who);
}

// The process is gone, its handle may not be yet; the PID is free only when nobody refers to the old process.
static void
step_restart(int who)
{
    step_close(who);
    sim_process_start(actors[who].pid, 1, sim_now(), NULL, 0); // the same PID
    actors[who].alive = 1;
}

// ---- what must hold ----

static void
check_everything(void)
{
    pm_status_reply status;
    uint32_t written;
    int active = model_active();

    CHECK_EQUAL(
        sim_ioctl(looker, APP, PM_IOCTL_STATUS, NULL, 0, &status, sizeof(status), &written), STATUS_SUCCESS);
    CHECK_EQUAL(status.active_registration, active < 0 ? 0 : actors[active].number);
    for (int i = 0; i < (int)PM_MAX_REGISTRATIONS; i++) { // newest first
        CHECK_EQUAL(status.registrations[i].registration, i < registered ? actors[order[registered - 1 - i]].number : 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        sim_connect_request request = connect_v4(203, 0, 113, 7, 443);
        sim_connect_result result;

        CHECK_EQUAL(sim_process_references(actors[i].pid), actors[i].number != 0);
        request.pid = actors[i].pid;
        result = run_connect(request);
        CHECK(!result.blocked);
        CHECK_EQUAL(result.redirected, active >= 0 && actors[i].number == 0); // every registrant is exempt
        sim_flow_close(result.flow);
    }
    CHECK_EQUAL(sim_live_allocations(), 0);
}

static void
filter_for(uint32_t number)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"test"}, .layerKey = FWPM_LAYER_ALE_CONNECT_REDIRECT_V4,
                           .subLayerKey = PM_SUBLAYER,
                           .flags = FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED};
    UINT64 weight = number;
    uint64_t id;

    filter.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &weight};
    filter.action.type = FWP_ACTION_CALLOUT_UNKNOWN;
    filter.action.calloutKey = PM_CALLOUT_CONNECT_REDIRECT_V4;
    filter.rawContext = filter_context(number, PM_REDIRECT, 1);
    CHECK_EQUAL(sim_user_filter_add(looker_engine, &filter, &id), 0);
}

static void
one_sequence(uint32_t seed)
{
    FWPM_SESSION0 session = {.flags = FWPM_SESSION_FLAG_DYNAMIC};
    uint32_t numbers = 0;

    random_state = seed;
    registered = 0;
    machine_start(NULL);
    CHECK_EQUAL(sim_open(APP, 1, NULL, &looker), STATUS_SUCCESS);
    CHECK_EQUAL(sim_user_engine_open(APP, &session, &looker_engine), 0);
    for (int i = 0; i < PROCESSES; i++) {
        actors[i] = (actor){.pid = 100u + (uint32_t)i, .alive = 1};
        sim_process_start(actors[i].pid, 1, 1, NULL, 0);
    }
    for (int step = 0; step < 120; step++) {
        int who = (int)below(PROCESSES);

        if (!actors[who].alive) {
            below(2) == 0 ? step_restart(who) : step_close(who);
        } else {
            switch (below(8)) {
            case 0:
            case 1:
                step_register(who);
                break;
            case 2:
                step_own(who, PM_IOCTL_RENEW);
                break;
            case 3:
                step_own(who, PM_IOCTL_WITHDRAW);
                break;
            case 4:
                step_other(who);
                break;
            case 5:
                step_close(who);
                break;
            case 6:
                step_exit(who);
                break;
            default:
                sim_advance(below(2000) * MS); // some hang long enough
                break;
            }
        }
        for (; actors[who].number > numbers; numbers++) {
            filter_for(numbers + 1); // each instance has filters of its own
        }
        check_everything();
    }
    for (int i = 0; i < PROCESSES; i++) {
        step_close(i);
    }
    CHECK_EQUAL(sim_user_engine_close(looker_engine), 0);
    sim_close(looker);
    machine_stop();
}

TEST(random_lives_of_proxies_agree_with_the_model)
{
    for (uint32_t seed = 1; seed <= 300; seed++) {
        one_sequence(seed * 2654435761u | 1u);
    }
}
