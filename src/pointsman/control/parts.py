"""The parts of one run of the proxy, put together: nothing is registered yet, and no app depends on us.

It decides what is built from which setting, and what may fail here for reasons that a person can mend (files, port).
The order of starting and stopping is in `control.proxy`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

from pointsman.addons.files import AddonFiles, open_addons
from pointsman.authority.issue import Root, may_sign, permitted_names
from pointsman.authority.leaf_cache import LeafCache
from pointsman.authority.revocations import Revocations
from pointsman.authority.root_store import load_or_create_root, root_path
from pointsman.control.canary import Canary, canary_filters, open_canary
from pointsman.control.drain import Drain
from pointsman.control.flow_log import FLUSH_AFTER, FlowLog
from pointsman.control.kernel_log import KernelLog
from pointsman.control.learned_file import NAME as LEARNED_NAME
from pointsman.control.learned_file import LearnedFile
from pointsman.control.operations import Operations
from pointsman.control.pause import Pause
from pointsman.control.policy_in_force import PolicyInForce
from pointsman.control.registration import Phase, Registration
from pointsman.control.seats import Hire, Seat, Workforce
from pointsman.control.secrets import Secrets
from pointsman.control.settings import Settings
from pointsman.control.takeover import OnStep, Takeover, cannot_take_over
from pointsman.engine.rebuild import later, nobody
from pointsman.engine.settings import Settings as EngineSettings
from pointsman.engine.settings import anything
from pointsman.server.connection_task import Services
from pointsman.server.key_log import prepare_key_log
from pointsman.server.listener import Listeners, listen
from pointsman.server.server import Server, mint_threads
from pointsman.server.upstream_dial import Upstreams
from pointsman.server.upstream_tls import UpstreamContexts
from pointsman.system.interface import System
from pointsman.system.key_protection import key_protection


@dataclass(frozen=True, slots=True)
class Parts:
    listeners: Listeners
    server: Server | Workforce
    registration: Registration
    in_force: PolicyInForce
    keeping: tuple[Callable[[], Coroutine[None, None, None]], ...]
    """What goes on in the background, each until it is cancelled."""
    operations: Operations | None
    """None for a worker: its parent is the one to talk to."""
    takeover: Takeover
    canary: Canary | None
    """If there is an instance to take over from."""


async def assemble(
    settings: Settings,
    system: System,
    stack: AsyncExitStack,
    out: TextIO,
    over: Callable[[], None],
    on_step: OnStep,
    seat: Seat | None,
    hire: Hire | None,
) -> Parts:
    """`stack` takes them apart again; `over` is called when a newer instance has relieved us.

    Raises PointsmanError.
    """
    root = load_or_create_root(settings.ca_dir, key_protection())
    if settings.key_log is not None:
        prepare_key_log(settings.key_log)
    policy_dir = settings.policy_file.parent if settings.policy_file is not None else Path()
    upstream_tls = UpstreamContexts(settings.upstream_ca, certificates=policy_dir, key_log=settings.key_log)
    addons = None
    if hire is None:  # otherwise the workers have them
        opening = open_addons(settings.addons, settings.addon_settings, lambda: upstream_tls(("http/1.1",)))
        addons = await stack.enter_async_context(opening)
    flows = _flow_log(settings, stack, out, sees_all=hire is None)
    threads = stack.enter_context(mint_threads())
    if seat is None:
        listeners = listen(settings.port, any_address=settings.any_address)
    else:
        listeners = Listeners(seat.endpoints, seat.listening)
    stack.callback(listeners.close)
    leaves = LeafCache(root, now=lambda: datetime.now(UTC), key_log=settings.key_log)
    learned = LearnedFile(settings.ca_dir / LEARNED_NAME)
    services = Services(
        system.redirects,
        _upstreams(settings, system, upstream_tls),
        leaves,
        threads,
        flows.write,
        learn=lambda app, host, reason, lasted: learned.refused(app, host, reason, time.time(), lasted),
        hooks=addons.host if addons else None,
    )
    registration = _registration(settings, system, listeners, stack)
    server: Server | Workforce
    canary = None
    if hire is not None:
        server = hire(listeners, registration.again)
    else:
        engine = _engine(settings, upstream_tls, learned, addons, root)
        server = Server(system, engine, services, settings.limits, seat.first_flow_id if seat is not None else 1)
        if settings.takeover:
            canary = await _canary(settings, leaves, services, stack)
            server.detour = canary.detour
    file = settings.policy_file if seat is None else None  # the parent of a worker looks at it
    in_force = PolicyInForce(settings.policy, file, system, registration)
    stack.callback(in_force.close)
    in_force.start(server.use)
    pause = Pause(registration)
    stack.callback(pause.close)
    takeover = Takeover(system, registration, pause, os.getpid(), drain=settings.drain, on_step=on_step)
    keeping = [registration.keep, in_force.keep]
    if addons is not None:
        keeping.append(partial(addons.keep, over))
    if seat is not None:
        return Parts(listeners, server, registration, in_force, tuple(keeping), None, takeover, None)
    drain = Drain(registration, server.counters, over)
    events = _kernel_log(settings, system, registration, drain, stack)
    operations = Operations(
        listeners.endpoints, registration, in_force, server.counters, flows, events, learned, pause, drain, time.time()
    )
    keeping += [events.keep, drain.keep]
    return Parts(listeners, server, registration, in_force, tuple(keeping), operations, takeover, canary)


def _upstreams(settings: Settings, system: System, upstream_tls: UpstreamContexts) -> Upstreams:
    """The proxies that rules lead connections through."""
    return Upstreams(
        lambda: upstream_tls(()),
        system.redirects,
        Secrets(settings.policy_file.parent if settings.policy_file is not None else Path()),
        timeout=settings.limits.dial_timeout,
    )


def _engine(
    settings: Settings, upstream_tls: UpstreamContexts, learned: LearnedFile, addons: AddonFiles | None, root: Root
) -> EngineSettings:
    return EngineSettings(
        settings.policy,
        upstream_tls,
        learned,
        idle_timeout=settings.limits.idle_timeout,
        dial_timeout=settings.limits.dial_timeout,
        life_timeout=settings.limits.life_timeout,
        max_bytes=settings.limits.max_bytes,
        certified_tls=upstream_tls.with_certificate,
        may_sign=partial(may_sign, root) if permitted_names(root) else anything,
        revocations=Revocations(root, now=lambda: datetime.now(UTC)),
        hooks=(lambda: addons.host.wanted) if addons is not None else nobody,
        answer=addons.host.answer if addons is not None else later,
    )


async def _canary(settings: Settings, leaves: LeafCache, services: Services, stack: AsyncExitStack) -> Canary:
    try:
        canary = await open_canary(leaves, root_path(settings.ca_dir), services)
    except OSError as error:
        raise cannot_take_over(f"no canary: {error}") from error
    stack.push_async_callback(canary.close)
    return canary


def _registration(settings: Settings, system: System, listeners: Listeners, stack: AsyncExitStack) -> Registration:
    registration = Registration(
        system,
        settings.policy,
        listeners.endpoints,
        lease_ms=settings.lease_ms,
        phase=Phase.PROBATION if settings.takeover else Phase.FULL,
        canary=canary_filters(),
    )
    stack.callback(registration.close)
    return registration


def _kernel_log(
    settings: Settings, system: System, registration: Registration, drain: Drain, stack: AsyncExitStack
) -> KernelLog:
    def is_ours() -> bool:
        return drain.state == "serving" and registration.phase is not Phase.PROBATION

    events = KernelLog(system, settings.state_dir or settings.ca_dir, is_ours)
    stack.callback(events.close)
    return events


def _flow_log(settings: Settings, stack: AsyncExitStack, out: TextIO, *, sees_all: bool) -> FlowLog:
    loop = asyncio.get_running_loop()
    flows = FlowLog(
        settings.flow_file,
        out if settings.print_flows or settings.json_flows else None,
        json=settings.json_flows,
        later=lambda flush: loop.call_later(FLUSH_AFTER, flush),
        sees_all=sees_all,
    )
    stack.callback(flows.close)
    return flows
