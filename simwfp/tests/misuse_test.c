// The simulator must notice what would crash a machine: each misuse, made on purpose, is reported.
#include "simwfp.h"

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static char misuse[256];

static void
note(const char* message)
{
    (void)snprintf(misuse, sizeof(misuse), "%s", message);
}

static int
noticed(const char* words)
{
    int found = strstr(misuse, words) != NULL;

    if (!found) {
        printf("# noticed only: \"%s\"\n", misuse);
    }
    misuse[0] = 0;
    return found;
}

enum { FORGET_APPLY, FORGET_RELEASE, APPLY_TWICE, STATIC_CONTEXT, NO_RIGHT, PASSIVE_CALL, FLAGGED_APPLY } what;

static void
bad_classify(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* data,
    const void* context, const FWPS_FILTER2* filter, UINT64 flow, FWPS_CLASSIFY_OUT0* out)
{
    static char not_from_pool[16];
    UINT64 handle = 0;
    FWPS_CONNECT_REQUEST0* request = NULL;

    (void)values, (void)metadata, (void)data, (void)flow;
    if (what == PASSIVE_CALL) {
        (void)FwpsCalloutUnregisterById0(12345); // would deadlock; and classify runs at DISPATCH_LEVEL
        return;
    }
    if (what == NO_RIGHT) {
        out->rights = 0;
    }
    (void)FwpsAcquireClassifyHandle0((void*)context, 0, &handle);
    (void)FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID*)&request, out);
    request->localRedirectTargetPID = 1;
    if (what == STATIC_CONTEXT) {
        request->localRedirectContext = not_from_pool;
        request->localRedirectContextSize = sizeof(not_from_pool);
    }
    if (what != FORGET_APPLY) {
        FwpsApplyModifiedLayerData0(handle, request, what == FLAGGED_APPLY ? 1 : 0);
    }
    if (what == APPLY_TWICE) {
        FwpsApplyModifiedLayerData0(handle, request, 0);
    }
    if (what != FORGET_RELEASE) {
        FwpsReleaseClassifyHandle0(handle);
    }
    out->actionType = FWP_ACTION_PERMIT;
    out->rights |= FWPS_RIGHT_ACTION_WRITE;
}

static NTSTATUS
notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID* key, FWPS_FILTER2* filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

TEST(what_a_callout_may_not_do_is_noticed)
{
    static const char* const words[] = {
        [FORGET_APPLY] = "not applied", [FORGET_RELEASE] = "classify handles",
        [APPLY_TWICE] = "not the pointer", [STATIC_CONTEXT] = "not a live pool block", [NO_RIGHT] = "without the right",
        [PASSIVE_CALL] = "IRQL 2", [FLAGGED_APPLY] = "pended classifies only"};
    sim_knobs knobs = {.acquire_sets_block = 1, .classify_irql = DISPATCH_LEVEL};
    GUID key = {1, 2, 3, {4}};
    FWPS_CALLOUT2 function = {.calloutKey = key, .classifyFn = bad_classify, .notifyFn = notify};
    FWPM_CALLOUT0 callout = {.calloutKey = key, .displayData = {.name = (PWSTR)L"c"},
                             .applicableLayer = FWPM_LAYER_ALE_CONNECT_REDIRECT_V4};
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = FWPM_LAYER_ALE_CONNECT_REDIRECT_V4};
    sim_connect_request request = {.pid = 1, .family = 4, .protocol = 6, .remote_port = 1,
                                   .remote_address = {203, 0, 113, 7}};
    sim_connect_result result;
    HANDLE engine;
    UINT32 id;

    sim_boot(&knobs);
    sim_on_misuse(note);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpsCalloutRegister2(&function, &function, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmCalloutAdd0(engine, &callout, NULL, NULL), STATUS_SUCCESS);
    filter.action.type = FWP_ACTION_CALLOUT_UNKNOWN;
    filter.action.calloutKey = key;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_SUCCESS);
    for (what = FORGET_APPLY; what <= FLAGGED_APPLY; what++) {
        sim_connect(&request, &result);
        CHECK(noticed(words[what]));
    }
    CHECK_EQUAL(FwpsCalloutUnregisterById0(id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    sim_shutdown();
    sim_on_misuse(NULL);
}

TEST(pool_mistakes_are_noticed)
{
    void* block;
    uint8_t fake[64] = {0};

    sim_boot(NULL);
    sim_on_misuse(note);
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 'aaaa');
    ExFreePoolWithTag(block, 'bbbb');
    CHECK(noticed("of that tag"));
    ExFreePoolWithTag(fake + 48, 'aaaa');
    CHECK(noticed("not a live block"));
    ExFreePoolWithTag(block, 'aaaa');
    CHECK_EQUAL(misuse[0], 0);
    CHECK_EQUAL(sim_live_allocations(), 0);
    sim_shutdown();
    sim_on_misuse(NULL);
}

static NTSTATUS
leaving_driver_entry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    static UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Left");
    PDEVICE_OBJECT device;

    (void)path;
    (void)IoCreateDevice(driver, 0, &name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    return STATUS_UNSUCCESSFUL;
}

TEST(a_driver_entry_that_fails_and_leaves_something_is_noticed)
{
    sim_boot(NULL);
    sim_on_misuse(note);
    CHECK_EQUAL(sim_load_driver(leaving_driver_entry), STATUS_UNSUCCESSFUL);
    CHECK(noticed("its device is still there"));
    sim_on_misuse(NULL);
}

// ---- pageable memory ----

static int raised; // does the notification read the image's name under a spin lock?
static volatile uint16_t first;

static void
read_name(PEPROCESS process, HANDLE pid, PPS_CREATE_NOTIFY_INFO info)
{
    KSPIN_LOCK lock = 0;
    KIRQL irql = PASSIVE_LEVEL;

    (void)process, (void)pid;
    if (info == NULL) {
        return;
    }
    if (raised) {
        KeAcquireSpinLock(&lock, &irql);
    }
    first = info->ImageFileName->Buffer[0];
    if (raised) {
        KeReleaseSpinLock(&lock, irql);
    }
}

TEST(an_image_name_that_is_read_under_a_spin_lock_ends_the_machine)
{
    static const uint16_t image[] = {'x', '.', 'e', 'x', 'e'};

    for (raised = 0; raised < 2; raised++) {
        int status = 0;
        pid_t child = fork(); // what is tested cannot be survived

        CHECK(child >= 0);
        if (child == 0) {
            (void)close(STDERR_FILENO);
            sim_boot(NULL);
            (void)PsSetCreateProcessNotifyRoutineEx(read_name, FALSE);
            sim_process_start(70, 1, 1, image, sizeof(image));
            _exit(first == 'x' ? 0 : 3);
        }
        CHECK_EQUAL(waitpid(child, &status, 0), child);
        CHECK_EQUAL(status == 0, !raised);
    }
}
