"""Is a file's embedded signature good, and by whose word: WinVerifyTrust, without network and without dialogs."""

from __future__ import annotations

import ctypes
import uuid
from pathlib import Path

from pointsman.system.fwpm import GUID
from pointsman.system.windows import _machine as api
from pointsman.system.windows._library import INVALID_HANDLE_VALUE

GENERIC_VERIFY_V2 = uuid.UUID("00aac56b-cd44-11d0-8cc2-00c04fc295ee")
UI_NONE, REVOKE_NONE, CHOICE_FILE = 2, 0, 1
STATE_VERIFY, STATE_CLOSE = 1, 2
NO_REVOCATION, CACHE_ONLY = 0x10, 0x1000


def verify(file: Path) -> int:
    """0 for a chain that Windows trusts, else an HRESULT as unsigned (`operate.signing` names them)."""
    action = GUID.from_buffer_copy(GENERIC_VERIFY_V2.bytes_le)
    subject = api.WINTRUST_FILE_INFO(ctypes.sizeof(api.WINTRUST_FILE_INFO), str(file), None, None)
    data = api.WINTRUST_DATA(
        cbStruct=ctypes.sizeof(api.WINTRUST_DATA), dwUIChoice=UI_NONE, fdwRevocationChecks=REVOKE_NONE,
        dwUnionChoice=CHOICE_FILE, pFile=ctypes.addressof(subject), dwStateAction=STATE_VERIFY,
        dwProvFlags=NO_REVOCATION | CACHE_ONLY,
    )  # fmt: skip
    answer = api.WinVerifyTrust(INVALID_HANDLE_VALUE, ctypes.byref(action), ctypes.byref(data))
    data.dwStateAction = STATE_CLOSE
    api.WinVerifyTrust(INVALID_HANDLE_VALUE, ctypes.byref(action), ctypes.byref(data))
    return int(answer)
