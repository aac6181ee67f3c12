// IoCreateDeviceSecure is a static library of the WDK and no export, so the descriptor is built here.  Nobody can open
// the device before: the I/O manager refuses while DO_DEVICE_INITIALIZING is set, which is until DriverEntry returns.
#include "device.h"

// SIDs as bytes: revision, sub-authority count, authority 5 (NT), sub-authorities (little-endian).
static const UCHAR pm_sid_system[] = {1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0};                        // S-1-5-18
static const UCHAR pm_sid_administrators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}; // S-1-5-32-544

#define PM_ACL_SIZE 64u // header 8, two ACEs of 8 + SID

_Use_decl_annotations_ NTSTATUS pm_device_protect(PDEVICE_OBJECT device) {
    NTSTATUS status;
    HANDLE handle = NULL;
    SECURITY_DESCRIPTOR descriptor;
    union {
        ACL acl;
        UCHAR bytes[PM_ACL_SIZE];
    } dacl;

    status = RtlCreateAcl(&dacl.acl, sizeof(dacl), ACL_REVISION);
    if (NT_SUCCESS(status)) {
        status = RtlAddAccessAllowedAce(&dacl.acl, ACL_REVISION, GENERIC_ALL, (PSID)pm_sid_system);
    }
    if (NT_SUCCESS(status)) {
        status = RtlAddAccessAllowedAce(&dacl.acl, ACL_REVISION, GENERIC_ALL, (PSID)pm_sid_administrators);
    }
    if (NT_SUCCESS(status)) {
        status = RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
    }
    if (NT_SUCCESS(status)) {
        status = RtlSetDaclSecurityDescriptor(&descriptor, TRUE, &dacl.acl, FALSE);
    }
    if (NT_SUCCESS(status)) {
        status = ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    }
    if (NT_SUCCESS(status)) {
        status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
        (void)ZwClose(handle);
    }
    return status;
}
