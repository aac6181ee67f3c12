"""How a Linux path looks to WFP, and back.

WFP names a program by its NT device path, lower-cased, in UTF-16LE with a terminating NUL ("FwpmGetAppIdFromFileName0",
Windows SDK docs).  The lab puts every Linux path on one made-up volume.  Both the machine (what the driver is told) and
the proxy (what its filters say) use this file, so that the two always agree.

Lower-casing cannot be undone: two Linux programs whose paths differ in letter case alone are one program to the lab.
"""

from __future__ import annotations

VOLUME = "\\device\\harddiskvolume3"


def nt_path(path: str) -> str:
    """`/usr/bin/curl` → `\\device\\harddiskvolume3\\usr\\bin\\curl`, lower-cased."""
    return VOLUME + path.replace("/", "\\").lower()


def app_id(path: str) -> bytes:
    # A Linux path need not be UTF-8; its stray bytes are lone surrogates here and stay apart from each other.
    return (nt_path(path) + "\0").encode("utf-16-le", "surrogatepass")


def image_path(app_id: bytes) -> str:
    """The Linux-looking path of an app id, with or without its NUL; in lower case.

    An app id of another volume comes back with its volume: it is not one of ours, and its name is all that is known.
    """
    text = app_id.decode("utf-16-le", "replace").rstrip("\0")
    return text.removeprefix(VOLUME).replace("\\", "/")
