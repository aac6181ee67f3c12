"""The forms in which Windows writes down where a driver's file lies, as one path.

Source: CreateServiceW, Win32 docs; what the I/O manager accepts, seen in INF, SCM and hand-made entries.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = "\\systemroot\\"
_EXPANDED = "%systemroot%\\"
_DOS = "\\??\\"


def driver_path(image: str, service: str, system_root: Path) -> Path:
    """A service's ImagePath as a path of files; empty means the place where Windows then looks."""
    text = image.strip().strip('"')
    lower = text.lower()
    if not text:
        return system_root / "System32" / "drivers" / f"{service}.sys"
    if lower.startswith(_DOS):
        return Path(text[len(_DOS) :])
    for prefix in (_ROOT, _EXPANDED):
        if lower.startswith(prefix):
            return _below(system_root, text[len(prefix) :])
    if text.startswith(("\\", "/")) or text[1:2] == ":":
        return Path(text)
    return _below(system_root, text)  # relative ones count from SystemRoot


def _below(root: Path, rest: str) -> Path:
    return root.joinpath(*rest.split("\\"))


def same_path(one: str, other: str, service: str, system_root: Path) -> bool:
    first, second = (str(driver_path(text, service, system_root)).replace("/", "\\").lower() for text in (one, other))
    return first == second
