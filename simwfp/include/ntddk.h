// The NT kernel declarations that a small WFP driver needs, for the host and for `zig cc -target *-windows-gnu`.
//
// Written from public documentation and from measured layouts (wfp-abi.json): the parts of a structure that a driver
// must not touch are opaque bytes of the right size, so that the same source runs on Windows x64 and ARM64 and on simwfp.
// sim_abi_test.c asserts every size and offset used.
#ifndef SIM_NTDDK_H
#define SIM_NTDDK_H

#include <stddef.h>
#include <stdint.h>

#include "guiddef.h"
#include "sal.h"

#define NTAPI
#define IN
#define OUT
#define UNREFERENCED_PARAMETER(p) ((void)(p))
#define C_ASSERT(e) _Static_assert(e, #e)
#define NT_SUCCESS(status) (((NTSTATUS)(status)) >= 0)
#define DECLSPEC_ALIGN(n) __attribute__((aligned(n)))
#define FORCEINLINE inline __attribute__((always_inline))
#define TRUE 1
#define FALSE 0

typedef void VOID, *PVOID, *HANDLE, **PHANDLE;
typedef char CHAR, CCHAR;
typedef const char* PCSTR;
typedef unsigned char UCHAR, BOOLEAN, *PUCHAR;
typedef int8_t INT8;
typedef int16_t SHORT, CSHORT, INT16;
typedef uint8_t UINT8;
typedef uint16_t USHORT, UINT16, WCHAR, *PWCH, *PWSTR;
typedef const uint16_t* PCWSTR;
typedef int32_t LONG, INT32, NTSTATUS, BOOL;
typedef uint32_t ULONG, UINT32, DWORD, ACCESS_MASK, SECURITY_INFORMATION, *PULONG;
typedef int64_t LONG64, LONGLONG, INT64;
typedef uint64_t ULONG64, ULONGLONG, UINT64, *PUINT64;
typedef uintptr_t ULONG_PTR, SIZE_T, KSPIN_LOCK, *PKSPIN_LOCK;
typedef UCHAR KIRQL;
typedef CHAR KPROCESSOR_MODE;
typedef PVOID PSID, PSECURITY_DESCRIPTOR;
typedef struct _SID SID;

typedef union _LARGE_INTEGER {
    struct {
        ULONG LowPart;
        LONG HighPart;
    };
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef struct _UNICODE_STRING {
    USHORT Length; // bytes, without terminator
    USHORT MaximumLength;
    PWCH Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING* PCUNICODE_STRING;

#define RTL_CONSTANT_STRING(s) {sizeof(s) - sizeof((s)[0]), sizeof(s), (PWCH)(s)}

// ---- IRQL ----

#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2

#define KernelMode 0
#define UserMode 1

// ---- status codes ----

#define STATUS_SUCCESS ((NTSTATUS)0x00000000)
#define STATUS_PENDING ((NTSTATUS)0x00000103)
#define STATUS_OBJECT_NAME_EXISTS ((NTSTATUS)0x40000000)
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_NOT_IMPLEMENTED ((NTSTATUS)0xC0000002)
#define STATUS_INFO_LENGTH_MISMATCH ((NTSTATUS)0xC0000004)
#define STATUS_INVALID_HANDLE ((NTSTATUS)0xC0000008)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_NO_SUCH_DEVICE ((NTSTATUS)0xC000000E)
#define STATUS_INVALID_DEVICE_REQUEST ((NTSTATUS)0xC0000010)
#define STATUS_NO_MEMORY ((NTSTATUS)0xC0000017)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_BUFFER_TOO_SMALL ((NTSTATUS)0xC0000023)
#define STATUS_OBJECT_NAME_NOT_FOUND ((NTSTATUS)0xC0000034)
#define STATUS_OBJECT_NAME_COLLISION ((NTSTATUS)0xC0000035)
#define STATUS_INVALID_SECURITY_DESCR ((NTSTATUS)0xC0000079)
#define STATUS_REVISION_MISMATCH ((NTSTATUS)0xC0000059)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_DEVICE_NOT_READY ((NTSTATUS)0xC00000A3)
#define STATUS_DEVICE_BUSY ((NTSTATUS)0x80000011)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_NOT_FOUND ((NTSTATUS)0xC0000225)

// ---- objects; what a driver must not look into is opaque ----

typedef struct _EPROCESS* PEPROCESS;
typedef struct _OBJECT_TYPE* POBJECT_TYPE;
typedef struct _DRIVER_OBJECT DRIVER_OBJECT, *PDRIVER_OBJECT;
typedef struct _DEVICE_OBJECT DEVICE_OBJECT, *PDEVICE_OBJECT;
typedef struct _FILE_OBJECT FILE_OBJECT, *PFILE_OBJECT;
typedef struct _IRP IRP, *PIRP;

typedef NTSTATUS DRIVER_INITIALIZE(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path);
typedef VOID DRIVER_UNLOAD(PDRIVER_OBJECT driver);
typedef NTSTATUS DRIVER_DISPATCH(PDEVICE_OBJECT device, PIRP irp);
typedef DRIVER_INITIALIZE* PDRIVER_INITIALIZE;
typedef DRIVER_UNLOAD* PDRIVER_UNLOAD;
typedef DRIVER_DISPATCH* PDRIVER_DISPATCH;

#define IRP_MJ_CREATE 0x00
#define IRP_MJ_CLOSE 0x02
#define IRP_MJ_READ 0x03
#define IRP_MJ_WRITE 0x04
#define IRP_MJ_DEVICE_CONTROL 0x0E
#define IRP_MJ_CLEANUP 0x12
#define IRP_MJ_MAXIMUM_FUNCTION 0x1B

struct _DRIVER_OBJECT {
    CSHORT Type;
    CSHORT Size;
    PDEVICE_OBJECT DeviceObject;
    UCHAR opaque1[88];
    PDRIVER_UNLOAD DriverUnload;
    PDRIVER_DISPATCH MajorFunction[IRP_MJ_MAXIMUM_FUNCTION + 1];
};

struct _DEVICE_OBJECT {
    CSHORT Type;
    USHORT Size;
    LONG ReferenceCount;
    PDRIVER_OBJECT DriverObject;
    PDEVICE_OBJECT NextDevice;
    UCHAR opaque1[24];
    ULONG Flags;
    ULONG Characteristics;
    PVOID Vpb;
    PVOID DeviceExtension;
    ULONG DeviceType;
    UCHAR opaque2[260];
} DECLSPEC_ALIGN(16);

#define DO_BUFFERED_IO 0x00000004
#define DO_DEVICE_INITIALIZING 0x00000080
#define FILE_DEVICE_NETWORK 0x00000012
#define FILE_DEVICE_SECURE_OPEN 0x00000100

struct _FILE_OBJECT {
    CSHORT Type;
    CSHORT Size;
    PDEVICE_OBJECT DeviceObject;
    PVOID Vpb;
    PVOID FsContext;
    PVOID FsContext2;
    UCHAR opaque1[32];
    BOOLEAN LockOperation;
    BOOLEAN DeletePending;
    BOOLEAN ReadAccess;
    BOOLEAN WriteAccess;
    UCHAR opaque2[4];
    ULONG Flags;
    UNICODE_STRING FileName;
    UCHAR opaque3[112];
};

typedef struct _IO_STATUS_BLOCK {
    union {
        NTSTATUS Status;
        PVOID Pointer;
    };
    ULONG_PTR Information;
} IO_STATUS_BLOCK;

typedef struct _IO_STACK_LOCATION {
    UCHAR MajorFunction;
    UCHAR MinorFunction;
    UCHAR Flags;
    UCHAR Control;
    union {
        struct {
            ULONG OutputBufferLength;
            ULONG DECLSPEC_ALIGN(8) InputBufferLength;
            ULONG DECLSPEC_ALIGN(8) IoControlCode;
            PVOID Type3InputBuffer;
        } DeviceIoControl;
        PVOID Others[4];
    } Parameters;
    PDEVICE_OBJECT DeviceObject;
    PFILE_OBJECT FileObject;
    PVOID CompletionRoutine;
    PVOID Context;
} IO_STACK_LOCATION, *PIO_STACK_LOCATION;

struct _IRP {
    CSHORT Type;
    USHORT Size;
    PVOID MdlAddress;
    ULONG Flags;
    union {
        struct _IRP* MasterIrp;
        PVOID SystemBuffer;
    } AssociatedIrp;
    UCHAR opaque1[16];
    IO_STATUS_BLOCK IoStatus;
    KPROCESSOR_MODE RequestorMode;
    UCHAR opaque2[119];
    PIO_STACK_LOCATION CurrentStackLocation; // Tail.Overlay.CurrentStackLocation
    UCHAR opaque3[16];
} DECLSPEC_ALIGN(16);

static inline PIO_STACK_LOCATION
IoGetCurrentIrpStackLocation(PIRP irp)
{
    return irp->CurrentStackLocation;
}

#define IO_NO_INCREMENT 0

NTSTATUS IoCreateDevice(
    PDRIVER_OBJECT driver, ULONG extension_size, PUNICODE_STRING name, ULONG type, ULONG characteristics,
    BOOLEAN exclusive, PDEVICE_OBJECT* device);
VOID IoDeleteDevice(PDEVICE_OBJECT device);
NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING link, PUNICODE_STRING target);
NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING link);
VOID IofCompleteRequest(PIRP irp, CCHAR boost);
#define IoCompleteRequest(irp, boost) IofCompleteRequest(irp, boost)

// ---- security of the device ----

typedef struct _ACL {
    UCHAR AclRevision;
    UCHAR Sbz1;
    USHORT AclSize;
    USHORT AceCount;
    USHORT Sbz2;
} ACL, *PACL;

typedef struct _SECURITY_DESCRIPTOR {
    UCHAR Revision;
    UCHAR Sbz1;
    USHORT Control;
    PSID Owner;
    PSID Group;
    PACL Sacl;
    PACL Dacl;
} SECURITY_DESCRIPTOR;

#define SECURITY_DESCRIPTOR_REVISION 1
#define ACL_REVISION 2
#define DACL_SECURITY_INFORMATION 0x00000004
#define DELETE 0x00010000
#define WRITE_DAC 0x00040000
#define GENERIC_ALL 0x10000000
#define GENERIC_EXECUTE 0x20000000
#define GENERIC_WRITE 0x40000000
#define GENERIC_READ 0x80000000
#define OBJ_KERNEL_HANDLE 0x00000200

NTSTATUS RtlCreateSecurityDescriptor(PSECURITY_DESCRIPTOR descriptor, ULONG revision);
NTSTATUS RtlSetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR descriptor, BOOLEAN present, PACL dacl, BOOLEAN defaulted);
NTSTATUS RtlCreateAcl(PACL acl, ULONG size, ULONG revision);
NTSTATUS RtlAddAccessAllowedAce(PACL acl, ULONG revision, ACCESS_MASK mask, PSID sid);
NTSTATUS ObOpenObjectByPointer(
    PVOID object, ULONG attributes, PVOID access_state, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
    PHANDLE handle);
NTSTATUS ZwSetSecurityObject(HANDLE handle, SECURITY_INFORMATION information, PSECURITY_DESCRIPTOR descriptor);
NTSTATUS ZwClose(HANDLE handle);

// ---- memory ----

typedef enum _POOL_TYPE { NonPagedPoolNx = 512 } POOL_TYPE;

PVOID ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag);
VOID ExFreePoolWithTag(PVOID block, ULONG tag);
void* memcpy(void* to, const void* from, size_t size);
void* memset(void* to, int value, size_t size);
int memcmp(const void* a, const void* b, size_t size);
// Builtins, as the WDK's intrinsics: a copy of a known small size is a few moves and no call.
#define RtlCopyMemory(to, from, size) __builtin_memcpy((to), (from), (size))
#define RtlZeroMemory(to, size) __builtin_memset((to), 0, (size))

// ---- locks and counters ----

static inline VOID
KeInitializeSpinLock(PKSPIN_LOCK lock)
{
    *lock = 0;
}
KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK lock);
VOID KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL old);
#define KeAcquireSpinLock(lock, old) (*(old) = KeAcquireSpinLockRaiseToDpc(lock))

static inline LONG64
InterlockedIncrement64(volatile LONG64* value)
{
    return __atomic_add_fetch(value, 1, __ATOMIC_SEQ_CST);
}

// ---- time: 100 ns ----

#ifdef _WIN32
// KUSER_SHARED_DATA, mapped at the same address on x64 and ARM64 (ntddk.h: KI_USER_SHARED_DATA).
static inline ULONGLONG
KeQueryInterruptTime(void)
{
    return *(volatile ULONGLONG*)0xFFFFF78000000008ull;
}
#define KeQuerySystemTime(time) ((time)->QuadPart = *(volatile LONGLONG*)0xFFFFF78000000014ull)
#else
ULONGLONG KeQueryInterruptTime(void);
VOID KeQuerySystemTime(PLARGE_INTEGER time);
#endif
NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER interval);

// ---- processes ----

typedef struct _CLIENT_ID {
    HANDLE UniqueProcess;
    HANDLE UniqueThread;
} CLIENT_ID;

typedef struct _PS_CREATE_NOTIFY_INFO {
    SIZE_T Size;
    ULONG Flags; // bit 0: FileOpenNameAvailable, bit 1: IsSubsystemProcess
    HANDLE ParentProcessId;
    CLIENT_ID CreatingThreadId;
    PFILE_OBJECT FileObject;
    PCUNICODE_STRING ImageFileName;
    PCUNICODE_STRING CommandLine;
    NTSTATUS CreationStatus;
} PS_CREATE_NOTIFY_INFO, *PPS_CREATE_NOTIFY_INFO;

typedef VOID CREATE_PROCESS_NOTIFY_ROUTINE_EX(PEPROCESS process, HANDLE pid, PPS_CREATE_NOTIFY_INFO info);
typedef CREATE_PROCESS_NOTIFY_ROUTINE_EX* PCREATE_PROCESS_NOTIFY_ROUTINE_EX;

NTSTATUS PsSetCreateProcessNotifyRoutineEx(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove);
PEPROCESS PsGetCurrentProcess(void);
HANDLE PsGetCurrentProcessId(void);
HANDLE PsGetProcessId(PEPROCESS process);
LONGLONG PsGetProcessCreateTimeQuadPart(PEPROCESS process);
intptr_t ObfReferenceObject(PVOID object);
intptr_t ObfDereferenceObject(PVOID object);
#define ObReferenceObject(object) ObfReferenceObject(object)
#define ObDereferenceObject(object) ObfDereferenceObject(object)

// ---- messages ----

#define DPFLTR_IHVNETWORK_ID 80
#define DPFLTR_ERROR_LEVEL 0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL 2
#define DPFLTR_INFO_LEVEL 3

ULONG DbgPrintEx(ULONG component, ULONG level, PCSTR format, ...) __attribute__((format(printf, 3, 4)));

#endif
