// The security descriptor of the device: built, and set through a kernel handle.  Calls that can fail; the bytes are tested where
// they are built.
#include "sim.h"

#include <string.h>

static int sim_device_secured;
static _Thread_local int sim_kernel_handles;

int
sim_device_is_protected(void)
{
    return sim_device_secured;
}

void
sim_device_unprotect(void)
{
    sim_device_secured = 0;
}

NTSTATUS
RtlCreateSecurityDescriptor(PSECURITY_DESCRIPTOR descriptor, ULONG revision)
{
    sim_require_irql(APC_LEVEL, "RtlCreateSecurityDescriptor");
    if (sim_fails_now()) {
        return STATUS_UNSUCCESSFUL;
    }
    memset(descriptor, 0, sizeof(SECURITY_DESCRIPTOR));
    ((SECURITY_DESCRIPTOR*)descriptor)->Revision = (UCHAR)revision;
    return STATUS_SUCCESS;
}

NTSTATUS
RtlSetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR descriptor, BOOLEAN present, PACL dacl, BOOLEAN defaulted)
{
    (void)defaulted;
    sim_require_irql(APC_LEVEL, "RtlSetDaclSecurityDescriptor");
    if (sim_fails_now()) {
        return STATUS_UNSUCCESSFUL;
    }
    ((SECURITY_DESCRIPTOR*)descriptor)->Dacl = present ? dacl : NULL;
    ((SECURITY_DESCRIPTOR*)descriptor)->Control = present ? 4 : 0; // SE_DACL_PRESENT
    return STATUS_SUCCESS;
}

NTSTATUS
RtlCreateAcl(PACL acl, ULONG size, ULONG revision)
{
    sim_require_irql(APC_LEVEL, "RtlCreateAcl");
    if (size < sizeof(ACL) || sim_fails_now()) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    memset(acl, 0, size);
    acl->AclRevision = (UCHAR)revision;
    acl->AclSize = (USHORT)size;
    return STATUS_SUCCESS;
}

NTSTATUS
RtlAddAccessAllowedAce(PACL acl, ULONG revision, ACCESS_MASK mask, PSID sid)
{
    uint32_t sid_size = 8u + 4u * ((const UCHAR*)sid)[1];
    uint32_t used = sizeof(ACL);
    UCHAR* bytes = (UCHAR*)acl;

    (void)revision;
    sim_require_irql(APC_LEVEL, "RtlAddAccessAllowedAce");
    for (uint32_t i = 0; i < acl->AceCount; i++) {
        used += (uint32_t)(bytes[used + 2] | bytes[used + 3] << 8);
    }
    if (used + 8 + sid_size > acl->AclSize || sim_fails_now()) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    bytes[used + 2] = (UCHAR)(8 + sid_size); // type 0 and flags 0: access allowed, not inherited
    memcpy(bytes + used + 4, &mask, sizeof(mask));
    memcpy(bytes + used + 8, sid, sid_size);
    acl->AceCount++;
    return STATUS_SUCCESS;
}

NTSTATUS
ObOpenObjectByPointer(
    PVOID object, ULONG attributes, PVOID access_state, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
    PHANDLE handle)
{
    (void)access_state;
    (void)access;
    (void)type;
    sim_require_irql(PASSIVE_LEVEL, "ObOpenObjectByPointer");
    if ((attributes & OBJ_KERNEL_HANDLE) == 0 || mode != KernelMode) {
        sim_misuse("ObOpenObjectByPointer: the handle would be open to user mode");
    }
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    sim_kernel_handles++;
    *handle = object;
    return STATUS_SUCCESS;
}

NTSTATUS
ZwSetSecurityObject(HANDLE handle, SECURITY_INFORMATION information, PSECURITY_DESCRIPTOR descriptor)
{
    const SECURITY_DESCRIPTOR* from = descriptor;

    sim_require_irql(PASSIVE_LEVEL, "ZwSetSecurityObject");
    if (!sim_is_device(handle) || sim_fails_now()) {
        return STATUS_ACCESS_DENIED;
    }
    sim_device_secured = (information & DACL_SECURITY_INFORMATION) != 0 && from->Dacl != NULL && from->Dacl->AceCount;
    return STATUS_SUCCESS;
}

NTSTATUS
ZwClose(HANDLE handle)
{
    (void)handle;
    sim_require_irql(PASSIVE_LEVEL, "ZwClose");
    sim_kernel_handles--;
    return STATUS_SUCCESS;
}

void
sim_device_security_check_unloaded(void)
{
    if (sim_kernel_handles != 0) {
        sim_misuse("%d kernel handles were left open", sim_kernel_handles);
    }
}
