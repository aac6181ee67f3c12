"""wevtapi.dll, 1:1 (winevt.h): reading event logs.  A failed call raises Win32Error; otherwise no logic."""

from __future__ import annotations

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero

EVT_QUERY_CHANNEL_PATH = 0x1
EVT_QUERY_REVERSE_DIRECTION = 0x200
EVT_RENDER_EVENT_XML = 1
ERROR_INSUFFICIENT_BUFFER = 122
ERROR_NO_MORE_ITEMS = 259

EvtQuery = Function("wevtapi", "EvtQuery", HANDLE, HANDLE, WIDE, WIDE, DWORD, check=nonzero)
"""session (NULL: this machine), channel, XPath, flags"""

EvtNext = Function("wevtapi", "EvtNext", BOOL, HANDLE, DWORD, POINTER, DWORD, DWORD, POINTER, check=nonzero)
"""result set, how many, EVT_HANDLE* events, milliseconds, flags, DWORD* returned"""

EvtRender = Function(
    "wevtapi", "EvtRender", BOOL, HANDLE, HANDLE, DWORD, DWORD, POINTER, POINTER, POINTER, check=nonzero
)
"""context, event, flags, bytes of the buffer, buffer, DWORD* used, DWORD* properties"""

EvtClose = Function("wevtapi", "EvtClose", BOOL, HANDLE, check=nonzero)
