// GUIDs as the Windows headers declare them: extern everywhere, defined where INITGUID is set.
#ifndef SIM_GUIDDEF_H
#define SIM_GUIDDEF_H

#include <stdint.h>

typedef struct _GUID {
    uint32_t Data1;
    uint16_t Data2;
    uint16_t Data3;
    uint8_t Data4[8];
} GUID;

#ifdef _WIN32
#define SIM_SELECTANY __declspec(selectany)
#else
#define SIM_SELECTANY __attribute__((weak))
#endif

#endif

// Outside the guard, as in Windows: a unit may include a header, define INITGUID and include it again.
#undef DEFINE_GUID
#ifdef INITGUID
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8)                                                  \
    extern const GUID name;                                                                                           \
    SIM_SELECTANY const GUID name = {l, w1, w2, {b1, b2, b3, b4, b5, b6, b7, b8}}
#else
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8) extern const GUID name
#endif
