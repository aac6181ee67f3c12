// The machine: booted, with a driver loaded and unloaded, and shut down; and what must be left of a driver: nothing.
#include "connection.h"

#include <string.h>

static DRIVER_OBJECT sim_driver;
static int sim_loaded;

static void
check_unloaded(void)
{
    sim_device_check_unloaded();
    sim_device_security_check_unloaded();
    sim_engine_check_unloaded();
    sim_layer_data_check_unloaded();
    sim_pending_check_unloaded();
    sim_processes_check_unloaded();
    sim_pool_check_unloaded();
    sim_irql_check_unloaded();
}

NTSTATUS
sim_load_driver(PDRIVER_INITIALIZE entry)
{
    NTSTATUS status;
    UNICODE_STRING path = RTL_CONSTANT_STRING(L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\Driver");

    if (sim_loaded) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    memset(&sim_driver, 0, sizeof(sim_driver));
    status = entry(&sim_driver, &path);
    if (!NT_SUCCESS(status)) {
        check_unloaded();
        return status;
    }
    sim_loaded = 1;
    sim_device_initialized();
    return status;
}

void
sim_unload_driver(void)
{
    if (!sim_loaded) {
        return;
    }
    if (sim_device_open_files() != 0) {
        sim_misuse(
            "unload with %d open handles: Windows would keep the driver in STOP_PENDING", sim_device_open_files());
    }
    sim_driver.DriverUnload(&sim_driver);
    sim_loaded = 0;
    check_unloaded();
}

void
sim_require_no_driver(const char* call)
{
    if (sim_loaded) {
        sim_misuse("%s while a driver is loaded", call);
    }
}

void
sim_boot(const sim_knobs* knobs)
{
    sim_require_no_driver("sim_boot");
    sim_knobs_set(knobs);
    sim_faults_reset();
    sim_trace_reset();
    sim_irql_reset();
    sim_clock_reset();
    sim_processes_reset();
    sim_sockets_reset();
    sim_flows_reset();
    sim_engine_reset();
}

void
sim_shutdown(void)
{
    sim_require_no_driver("sim_shutdown");
    sim_sockets_reset();
    sim_flows_reset();
    sim_engine_end();
    sim_irql_reset();
    sim_processes_reset();
}
