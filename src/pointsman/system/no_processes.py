"""Processes of a system that tells nothing of them: a gateway, whose apps run elsewhere.

Rules on a parent, a user or a service then match nobody, and rules on an app by name or glob get no filter of their
own: the connection reaches the proxy, which decides the same from the redirect context.
"""

from __future__ import annotations

from pointsman.wire.process_facts import ProcessFacts


class NoProcesses:
    """Implements `interface.Processes`."""

    sees_tokens = False

    def facts(self, pid: int) -> ProcessFacts | None:
        del pid
        return None

    def image(self, pid: int, start: int) -> str | None:
        del pid, start
        return None

    def running(self) -> frozenset[str]:
        return frozenset()

    def sid_of(self, user: str) -> str | None:
        del user
        return None
