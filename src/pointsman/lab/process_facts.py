"""What Linux tells of a process, in the words of `system.interface.Processes`.

The lab's kernel sees no tokens, so rules about users are the proxy's business here; Windows services do not exist.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from pointsman.lab.processes import MAX_ANCESTORS, read_stat
from pointsman.wire.process_facts import ProcessFacts


class LabProcesses:
    """Implements `interface.Processes`."""

    sees_tokens = False

    def facts(self, pid: int) -> ProcessFacts | None:
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
            parent = read_stat(pid).parent
        except OSError:
            return None
        return ProcessFacts(tuple(self._ancestors(parent)), frozenset(_names(uid)), frozenset())

    def image(self, pid: int, start: int) -> str | None:
        del start  # by the clock of the lab's kernel, which /proc does not know exactly; callers compare the path
        try:
            return os.readlink(f"/proc/{pid}/exe")
        except OSError:
            return None

    def running(self) -> frozenset[str]:
        found = set()
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError):  # gone, a kernel thread, or not ours to look at
                    found.add(os.readlink(f"/proc/{name}/exe"))
        return frozenset(found)

    def sid_of(self, user: str) -> str | None:
        del user  # no SIDs here
        return None

    def _ancestors(self, pid: int) -> list[str]:
        found: list[str] = []
        while pid > 0 and len(found) < MAX_ANCESTORS:
            try:
                found.append(os.readlink(f"/proc/{pid}/exe"))
                pid = read_stat(pid).parent
            except OSError:
                break  # what is above can no longer be seen
        return found


def _names(uid: int) -> list[str]:
    with suppress(KeyError):  # a uid without a name
        return [str(uid), pwd.getpwuid(uid).pw_name.lower()]
    return [str(uid)]
