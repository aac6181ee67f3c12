// Socket addresses as the kernel passes them: network byte order.
#ifndef SIM_WS2IPDEF_H
#define SIM_WS2IPDEF_H

#include "ntddk.h"

#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 23 // Windows' number, not the host's

typedef USHORT ADDRESS_FAMILY;

typedef struct sockaddr {
    ADDRESS_FAMILY sa_family;
    CHAR sa_data[14];
} SOCKADDR, *PSOCKADDR;

typedef struct in_addr {
    UCHAR s_b[4];
} IN_ADDR;

typedef struct in6_addr {
    UCHAR u_Byte[16];
} IN6_ADDR;

typedef struct sockaddr_in {
    ADDRESS_FAMILY sin_family;
    USHORT sin_port;
    IN_ADDR sin_addr;
    CHAR sin_zero[8];
} SOCKADDR_IN, *PSOCKADDR_IN;

typedef struct sockaddr_in6 {
    ADDRESS_FAMILY sin6_family;
    USHORT sin6_port;
    ULONG sin6_flowinfo;
    IN6_ADDR sin6_addr;
    ULONG sin6_scope_id;
} SOCKADDR_IN6, *PSOCKADDR_IN6;

typedef struct sockaddr_storage {
    ADDRESS_FAMILY ss_family;
    UCHAR ss_data[126];
} DECLSPEC_ALIGN(8) SOCKADDR_STORAGE, *PSOCKADDR_STORAGE;

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#endif
