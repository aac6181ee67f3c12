"""Inside the proxy of the soak: what malloc has given out, and what it has free, once a second.

Resident memory alone does not tell a leak from a heap with holes.  Python imports this at the start of every program
of the lab; it does something in the proxy only, and only with glibc from 2.33 on.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class MallInfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS)


def tell(descriptor: int) -> None:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = MallInfo
    while True:
        info = mallinfo2()
        os.pwrite(descriptor, b"%20d %20d\n" % (info.uordblks + info.hblkhd, info.fordblks), 0)
        time.sleep(1)


words = [word for word in sys.orig_argv if word in ("-m", "pointsman", "run")]
path = os.environ.get("POINTSMAN_SOAK_MALLOC")
if path is not None and words == ["-m", "pointsman", "run"] and hasattr(ctypes.CDLL(None), "mallinfo2"):
    # Open before the proxy is ready, and for as long as it lives: the soak counts its files.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    threading.Thread(target=tell, args=(file,), daemon=True).start()
