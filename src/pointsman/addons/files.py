"""The addon files of a run: loaded at the start, loaded anew when they change, told when it begins and ends.

Once a second it looks whether a file has changed (and has been left alone for a second: an editor may be half-way).  A
file that cannot be used changes nothing: the reason is logged once, and the version that was running goes on.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pointsman.addons.context import ctx
from pointsman.addons.elsewhere import ClientContext
from pointsman.addons.foresight import Foresight, never_called
from pointsman.addons.host import AddonHost, LoadedFile
from pointsman.addons.import_hook import ShimFinder, no_counterpart
from pointsman.addons.inject import Injector
from pointsman.addons.lane import Lane
from pointsman.addons.listener import Limits
from pointsman.addons.options import Loader, OptionsError
from pointsman.addons.replay import COMMAND, Replay
from pointsman.addons.script import Script, path_of, run_script, stamp, unusable, where
from pointsman.addons.stepping import stepping
from pointsman.addons.watchdog import HookStalled
from pointsman.errors import Exit, PointsmanError

POLL = 1.0  # seconds
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_addons(
    sources: Sequence[str], settings: Sequence[str], client_context: ClientContext
) -> AsyncIterator[AddonFiles | None]:
    """Loaded and listening until it is left; None if there are none.

    `client_context`: for TLS to where an addon sends a request.  Raises PointsmanError PM461, PM462.
    """
    if not sources:
        if settings:
            raise _unsettable("there is no addon", "name an addon with --addon, or leave out --set")
        yield None
        return
    files = AddonFiles(AddonHost(Limits(), client_context), sources, settings)
    try:
        await files.start()
        yield files
    finally:
        await files.close()


class AddonFiles:
    def __init__(self, host: AddonHost, sources: Sequence[str], settings: Sequence[str]) -> None:
        """`settings`: `name=value` each, or `name` alone for an option that is true or false."""
        self.host = host
        self._sources = list(sources)
        self._settings = [one.partition("=") for one in settings]
        self._files: dict[int, LoadedFile] = {}
        self._stamps = [stamp(source) for source in self._sources]
        self._last_seen = list(self._stamps)
        self._shim = ShimFinder()
        self._replay = Replay(host, host.client_context)
        self.reloads = 0
        self.refused_reloads = 0

    async def start(self) -> None:
        """Raises PointsmanError for a file or a setting that cannot be used."""
        ctx.renew(self._find)
        self._shim.install()
        ctx.master.commands.add(COMMAND, self._replay.start)
        Injector().add_to(ctx.master.commands)
        for index, source in enumerate(self._sources):
            self._files[index] = await self._loaded(source)
        self._apply_settings()
        for file in self._files.values():
            await self._configure(file)
        self._use()

    async def running(self, stop: Callable[[], None]) -> None:
        """The proxy accepts connections.  `stop` is what `ctx.master.shutdown` does."""
        ctx.master.on_shutdown(stop)
        for file in self._files.values():
            await self._tell(file, "running")

    async def keep(self, stop: Callable[[], None]) -> None:
        """Say that we run, then look until cancelled."""
        await self.running(stop)
        while True:
            await asyncio.sleep(POLL)
            await self.tick()

    async def tick(self) -> None:
        """One look.  Never raises for what is in a file."""
        for index, source in enumerate(self._sources):
            if path_of(source) is None:
                continue
            now = stamp(source)
            is_settled, self._last_seen[index] = now == self._last_seen[index], now
            if is_settled and now != self._stamps[index]:
                self._stamps[index] = now
                await self._reload(index, source)

    async def close(self) -> None:
        """Harmless twice."""
        files, self._files = list(self._files.values()), {}
        self.host.use(())
        for file in files:
            await self._retire(file)
        if files and (summary := self.host.counters.summary()):
            _log.warning("addons: %s", summary)
        await self._replay.close()
        await self.host.close()
        self._shim.remove()

    def module(self, index: int) -> Any:
        """The running version of the file with that place in the list: a module, with whatever the file defines."""
        return self._files[index].script.module

    # One file.

    async def _reload(self, index: int, source: str) -> None:
        try:
            new = await self._loaded(source)
            await self._configure(new)
        except PointsmanError as error:
            self.refused_reloads += 1
            _log.warning("%s", error)
            return
        old, self._files[index] = self._files[index], new
        self._use()
        await self._retire(old)
        await self._tell(new, "running")
        self.reloads += 1
        _log.warning("%s: loaded anew", source)

    async def _loaded(self, source: str) -> LoadedFile:
        """Read, run, and `load` called.  Raises PointsmanError."""
        lane = Lane(f"load {source}", 1)
        try:
            script: Script = await self._in_thread(lane, lambda: run_script(source))
            foreseen = Foresight(script.text)
            if foreseen.missing and path_of(source) is not None:
                line, name = foreseen.missing[0]
                raise OptionsError(f"{source}:{line}: {name} {no_counterpart('')}")
            file = self.host.load(script)
            for path, function in script.commands():
                ctx.master.commands.add(path, function)
            loader = Loader(ctx.options, ctx.master.commands.add)
            for _, function in script.hook("load"):
                await self._call(file, function, loader)
        except Exception as error:
            raise _unusable(source, error) from error
        finally:
            lane.close()
        self._warn(script, foreseen)
        return file

    def _warn(self, script: Script, foreseen: Foresight) -> None:
        for said in never_called(script):
            _log.warning("addon %s: %s", script.source, said)
        for line, command in foreseen.commands:
            if command not in ctx.master.commands:
                _log.warning(
                    "addon %s: line %d: there is no command %s here; calling it fails", script.source, line, command
                )

    async def _configure(self, file: LoadedFile) -> None:
        """Raises PointsmanError: it does not like its options."""
        try:
            for _, function in file.script.hook("configure"):
                await self._call(file, function, ctx.options.keys())
        except Exception as error:
            raise _unusable(file.script.source, error) from error

    async def _retire(self, file: LoadedFile) -> None:
        await self._tell(file, "done")
        file.lane.close()
        file.concurrent_lane.close()
        file.script.close()

    async def _tell(self, file: LoadedFile, hook: str) -> None:
        """On the event loop, since this is where addons start tasks; what they raise is reported."""
        for _, function in file.script.hook(hook):
            try:
                if inspect.iscoroutinefunction(function):
                    async with asyncio.timeout(self.host.limits.load):
                        await stepping(function(), self.host.dog)
                else:
                    self.host.on_loop(function)
            except (Exception, HookStalled) as error:
                _log.error(
                    "addon %s: %s: %s: %s", file.script.source, hook, type(error).__name__, error, exc_info=error
                )

    async def _call(self, file: LoadedFile, function: Callable[..., Any], argument: object) -> None:
        if inspect.iscoroutinefunction(function):
            async with asyncio.timeout(self.host.limits.load):
                await stepping(function(argument), self.host.dog)
            return
        try:
            await self._in_thread(file.lane, lambda: function(argument))
        except RuntimeError as error:
            if "no running event loop" not in str(error):
                raise
            self.host.on_loop(function, argument)

    async def _in_thread(self, lane: Lane, call: Callable[[], Any]) -> Any:
        """In a thread, since a file may read, wait or compute when it is loaded, and flows must not wait for it."""
        job = lane.submit(call)
        try:
            async with asyncio.timeout(self.host.limits.load):
                await job.result
        except TimeoutError:
            lane.abandon(job)
            raise TimeoutError(f"not done after {self.host.limits.load} s") from None
        return job.value

    def _use(self) -> None:
        self.host.use([self._files[index] for index in sorted(self._files)])

    def _apply_settings(self) -> None:
        texts: dict[str, list[str | None]] = {}
        for name, separator, value in self._settings:
            texts.setdefault(name, []).append(value if separator else None)
        try:
            for name, given in texts.items():
                ctx.options.set_text(name, given)
        except OptionsError as error:
            known = ", ".join(sorted(ctx.options.declared())) or "none, no addon declares one"
            raise _unsettable(str(error), f"give --set NAME=VALUE with an option that there is: {known}") from error

    def _find(self, name: str) -> object | None:
        for file in self._files.values():
            for addon in file.script.addons:
                if name in (getattr(addon, "name", None), type(addon).__name__.lower()):
                    return addon
        return None


def _unsettable(seen: str, do: str) -> PointsmanError:
    return PointsmanError(
        "cannot set an option of an addon",
        code="PM462",
        seen=seen,
        effect="the proxy does not start; nothing is intercepted (fail open)",
        do=do,
        status=Exit.BAD_FILE,
    )


def _unusable(source: str, error: Exception) -> PointsmanError:
    if isinstance(error, (OptionsError, TimeoutError)):
        return unusable(source, str(error))
    if isinstance(error, OSError) and error.strerror and error.filename in (None, source, str(path_of(source))):
        return unusable(source, error.strerror.lower())
    if type(error) is ValueError and error.__traceback__ is not None and path_of(source) is None:
        return unusable(source, str(error))
    path = path_of(source)
    return unusable(source, where(error, str(path.absolute())) if path else f"{type(error).__name__}: {error}")
