// The library as a running machine, with the driver that was linked with it.
#include "simwfp.h"

DRIVER_INITIALIZE DriverEntry;

NTSTATUS
sim_lab_start_with(const sim_knobs* knobs)
{
    sim_boot(knobs);
    return sim_load_driver(DriverEntry);
}

void
sim_lab_stop(void)
{
    sim_unload_driver();
    sim_shutdown();
}
