"""Run a coroutine of an addon under the watchdog: between two awaits it holds the event loop like any other hook."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

from pointsman.addons.watchdog import HookStalled, Watchdog


class _Stepping:
    def __init__(self, work: Coroutine[Any, Any, Any], dog: Watchdog) -> None:
        self._work = work
        self._dog = dog

    def __await__(self) -> Generator[Any, Any, None]:
        thrown: BaseException | None = None
        try:
            while True:
                try:
                    try:
                        self._dog.begin()
                        waits_for = self._work.send(None) if thrown is None else self._work.throw(thrown)
                    finally:
                        self._dog.running = False
                except StopIteration:
                    return
                thrown = None
                try:
                    yield waits_for
                except BaseException as error:  # cancelled, say: that is for the addon to know
                    thrown = error
        finally:
            self._work.close()


async def stepping(work: Coroutine[Any, Any, Any], dog: Watchdog) -> None:
    """Raises what the coroutine raises; RuntimeError for what would end the proxy."""
    try:
        await _Stepping(work, dog)
    except HookStalled:
        raise RuntimeError("held the event loop too long between two awaits and was ended") from None
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
