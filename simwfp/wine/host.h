// simwfp as Wine's missing fwpkclnt.sys: what its files share.  Runs inside winedevice.exe, beside Wine's ntoskrnl.exe,
// and calls nothing else.  Test equipment: nothing here is ever built into the driver.
#ifndef SIM_WINE_HOST_H
#define SIM_WINE_HOST_H

#include "connection.h"

#define STATUS_TIMEOUT ((NTSTATUS)0x00000102)
#define PROCESS_QUERY_LIMITED_INFORMATION 0x1000
#define SYNCHRONIZE 0x00100000
#define EVENT_ALL_ACCESS 0x1F0003

// ---- ntoskrnl.exe: more than a driver needs ----

typedef struct _OBJECT_ATTRIBUTES {
    ULONG Length;
    HANDLE RootDirectory;
    PUNICODE_STRING ObjectName;
    ULONG Attributes;
    PVOID SecurityDescriptor;
    PVOID SecurityQualityOfService;
} OBJECT_ATTRIBUTES;

PVOID MmGetSystemRoutineAddress(PUNICODE_STRING name);
NTSTATUS PsLookupProcessByProcessId(HANDLE pid, PEPROCESS* process);
NTSTATUS PsCreateSystemThread(
    PHANDLE thread, ULONG access, OBJECT_ATTRIBUTES* attributes, HANDLE process, CLIENT_ID* client,
    VOID (*start)(PVOID context), PVOID context);
NTSTATUS PsTerminateSystemThread(NTSTATUS status);
NTSTATUS ZwCreateEvent(PHANDLE event, ACCESS_MASK access, OBJECT_ATTRIBUTES* attributes, ULONG type, BOOLEAN state);
NTSTATUS ZwSetEvent(HANDLE event, LONG* previous);
NTSTATUS ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout);
NTSTATUS ZwWaitForMultipleObjects(
    ULONG count, const HANDLE* handles, ULONG wait_type, BOOLEAN alertable, PLARGE_INTEGER timeout);
NTSTATUS ZwQuerySystemInformation(ULONG kind, PVOID buffer, ULONG size, ULONG* needed);
NTSTATUS ZwQueryInformationProcess(HANDLE process, ULONG kind, PVOID buffer, ULONG size, ULONG* needed);
NTSTATUS ZwProtectVirtualMemory(HANDLE process, PVOID* base, SIZE_T* size, ULONG protection, ULONG* old);

// ---- watch.c: process notification, which Wine 8.0 accepts and never gives ----

NTSTATUS sim_watch_start(void);
void sim_watch_stop(void);
int sim_watch_is_asked(void); // 1: a driver has a notification routine registered

// The two functions that stand in for ntoskrnl's of the same name.
NTSTATUS sim_watch_set_routine(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove);
LONGLONG sim_watch_create_time(PEPROCESS process);

// ---- test_device.c ----

NTSTATUS sim_test_device_create(PDRIVER_OBJECT driver);
void sim_test_device_delete(void);

#endif
