"""The seven steps of the demo: each does one thing with real programs and says whether it went as promised."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pointsman.control.flow_log import human_line
from pointsman.demo.internet import ADDRESSES, BANK, BLOCKED, MAIL, ORGANIZATION, PRIVATE, SHOP
from pointsman.demo.stage import CLIENT, Ran, Stage, interpreter_environment
from pointsman.lab.flows import KernelFlow
from pointsman.lab.session import LabProxy, rule_name
from pointsman.wire.abi import LEASE_DEFAULT_MS, REASON_TEXT, Reason, Verdict

OURS = "Pointsman"  # organization of our root
CLIENT_TIMEOUT = 0.5  # seconds a looping client gives one request
NOTICEABLE = 200.0  # ms; the proxy itself waits 300 for a client's first words
DIRECT_WITHIN = 10.0  # seconds in which connections must have gone direct, come what may


@dataclass(frozen=True, slots=True)
class Outcome:
    title: str
    asked: str
    driver: str
    proxy: str
    seen: str
    ok: bool


@dataclass(slots=True)
class Cast:
    """The proxy on duty; steps 6 and 7 change it."""

    proxy: LabProxy


Step = Callable[[Stage, Cast], Awaitable[Outcome]]


async def https_request(stage: Stage, _: Cast) -> Outcome:
    url = f"https://{SHOP}/cart?id=7"
    argv, ran, issuer = await _fetch(stage, url)
    record = await stage.heard.record_of(ran.pid)
    flow = stage.heard.flow_of(ran.pid)
    ok = (
        issuer == OURS
        and record is not None
        and (record.host, record.method, record.path, record.status) == (SHOP, "GET", "/cart?id=7", 200)
        and record.address == ADDRESSES[SHOP]
        and bool(record.app and record.bytes_down)
        and _is(flow, Verdict.REDIRECT)
    )
    return Outcome(
        "an HTTPS request is redirected, decrypted and logged",
        " ".join(argv),
        _driver(stage, flow),
        human_line(record) if record else "nothing",
        f"certificate by {issuer}; logged: {record.app if record else '?'}, pid {ran.pid}, to {_destination(flow)}",
        ok,
    )


async def relayed_host(stage: Stage, _: Cast) -> Outcome:
    argv, ran, issuer = await _fetch(stage, f"https://{BANK}/account")
    record = await stage.heard.record_of(ran.pid)
    flow = stage.heard.flow_of(ran.pid)
    ok = issuer == ORGANIZATION and record is not None and record.decision == "relay" and record.path is None
    return Outcome(
        "a host that is not to be decrypted is relayed",
        " ".join(argv),
        _driver(stage, flow),
        human_line(record) if record else "nothing",
        f"certificate by {issuer}: the origin's own",
        ok and _is(flow, Verdict.REDIRECT),
    )


async def server_speaks_first(stage: Stage, _: Cast) -> Outcome:
    argv = [sys.executable, "-P", CLIENT, "greet", MAIL, "25"]
    ran = await stage.run(argv)
    record = await stage.heard.record_of(ran.pid)
    flow = stage.heard.flow_of(ran.pid)
    milliseconds = float(ran.said.get("ms", 1e9))
    ok = str(ran.said.get("greeting", "")).startswith("220") and milliseconds < NOTICEABLE and record is not None
    return Outcome(
        "a service whose server speaks first is relayed without a wait",
        _shown(argv),
        _driver(stage, flow),
        human_line(record) if record else "nothing",
        f"greeting after {milliseconds:.0f} ms",
        ok and _is(flow, Verdict.REDIRECT),
    )


async def blocked_destination(stage: Stage, _: Cast) -> Outcome:
    argv = [sys.executable, "-P", CLIENT, "get", f"https://{BLOCKED}/"]
    ran = await stage.run(argv)
    flow = stage.heard.flow_of(ran.pid)
    reached = any(record.pid == ran.pid for record in stage.heard.records)
    ok = ran.said.get("error") == "PermissionError" and not stage.tripped and not reached
    return Outcome(
        "a blocked destination: connect() fails, not a byte leaves",
        _shown(argv),
        _driver(stage, flow),
        "nothing" if not reached else "a record, though it should not know",
        f"{ran.said.get('text')}; the destination saw {len(stage.tripped)} connections",
        ok and _is(flow, Verdict.BLOCK),
    )


async def direct_ones(stage: Stage, _: Cast) -> Outcome:
    excluded_argv = [str(stage.excluded), "-P", "-S", CLIENT, "get", f"https://{SHOP}/backup"]
    excluded = await stage.run(excluded_argv, interpreter_environment())
    private = await stage.run([sys.executable, "-P", CLIENT, "get", f"http://{PRIVATE}/printer"])
    flows = [stage.heard.flow_of(ran.pid) for ran in (excluded, private)]
    reached = [record for record in stage.heard.records if record.pid in (excluded.pid, private.pid)]
    ok = (
        excluded.said.get("issuer") == ORGANIZATION
        and private.said.get("status") == 200
        and not reached
        and all(_is(flow, Verdict.PASS) for flow in flows)
        and flows[1] is not None
        and flows[1].reason is Reason.PRIVATE_DESTINATION
    )
    return Outcome(
        "a program excluded by its path, and a private destination, go direct",
        f"{stage.excluded.name} https://{SHOP}/backup  and  python http://{PRIVATE}/printer",
        "  and  ".join(_driver(stage, flow) for flow in flows),
        "nothing" if not reached else f"{len(reached)} records, though it should not know",
        f"certificate by {excluded.said.get('issuer')}; status {private.said.get('status')}",
        ok,
    )


async def killed_proxy(stage: Stage, cast: Cast) -> Outcome:
    async with stage.looping(f"https://{SHOP}/tick", CLIENT_TIMEOUT) as loop:
        before = await loop.until(OURS)
        since = len(loop.results)
        killed = time.monotonic()
        cast.proxy.process.send_signal(signal.SIGKILL)
        direct = await loop.until(ORGANIZATION, since=since, timeout=DIRECT_WITHIN)
        failed = loop.failures(since)
        await cast.proxy.ended()
        cast.proxy = await stage.start_proxy()
        again = await loop.until(OURS, since=len(loop.results))
    waited = (direct["at"] - killed) * 1000 if direct else float("inf")
    return Outcome(
        "the proxy is killed while a client loops, then a new one starts",
        f"python https://{SHOP}/tick, again and again",
        f"registration cleared by the exit of the process; now registration {cast.proxy.registration}",
        "killed with SIGKILL, a new one started",
        f"{failed} requests failed, direct after {waited:.0f} ms, "
        + ("redirected again by the new one" if again else "never redirected again"),
        bool(before and direct and again),
    )


async def hung_proxy(stage: Stage, cast: Cast) -> Outcome:
    async with stage.looping(f"https://{SHOP}/tock", CLIENT_TIMEOUT) as loop:
        before = await loop.until(OURS)
        since = len(loop.results)
        stopped = time.monotonic()
        cast.proxy.process.send_signal(signal.SIGSTOP)
        direct = await loop.until(ORGANIZATION, since=since, timeout=DIRECT_WITHIN)
        failed = loop.failures(since)
        cast.proxy.process.send_signal(signal.SIGCONT)
        again = await loop.until(OURS, since=len(loop.results))
    waited = (direct["at"] - stopped) * 1000 if direct else float("inf")
    return Outcome(
        "the proxy hangs (SIGSTOP): its lease runs out",
        f"python https://{SHOP}/tock, again and again",
        f"the lease of {LEASE_DEFAULT_MS} ms was not renewed, everything passes",
        "stopped, then continued",
        f"{failed} requests failed, direct after {waited:.0f} ms, "
        + ("redirected again once it renewed" if again else "never redirected again"),
        bool(before and direct and again),
    )


STEPS: tuple[Step, ...] = (
    https_request,
    relayed_host,
    server_speaks_first,
    blocked_destination,
    direct_ones,
    killed_proxy,
    hung_proxy,
)


async def _fetch(stage: Stage, url: str) -> tuple[list[str], Ran, str | None]:
    """With curl where there is one, else with Python.  Returns the command, what became of it, who signed the leaf."""
    if stage.curl is None:
        argv = [sys.executable, "-P", CLIENT, "get", url]
        ran = await stage.run(argv)
        return [_shown(argv)], ran, ran.said.get("issuer")
    ran = await stage.run([stage.curl, "-sSv", "--http1.1", url])
    # OpenSSL builds print `O=x; CN=y`, GnuTLS builds `O=x,CN=y`
    issuer = re.search(r"issuer:.*?O ?= ?([^;,\n]+)", ran.stderr)
    return ["curl", url], ran, issuer.group(1).strip() if issuer else None


def _is(flow: KernelFlow | None, verdict: Verdict) -> bool:
    return flow is not None and flow.verdict is verdict


def _driver(stage: Stage, flow: KernelFlow | None) -> str:
    if flow is None:
        return "nothing"
    decided = f"{flow.verdict.name.lower()} {_destination(flow)}: {REASON_TEXT[flow.reason]}"
    if flow.reason is Reason.REDIRECTED and flow.rule_id < len(stage.policy.rules):
        # A rule that asks for a name: the kernel knows none, so the proxy finds out and decides.
        decided += f", which asks for the name (rule: {rule_name(stage.policy, flow.rule_id)})"
    elif flow.reason in (Reason.REDIRECTED, Reason.BLOCKED_BY_RULE, Reason.PASSED_BY_RULE):
        decided += f" (rule: {rule_name(stage.policy, flow.rule_id)})"
    return decided


def _destination(flow: KernelFlow | None) -> str:
    if flow is None:
        return "unknown"
    address, port = flow.original_destination
    return f"{address}:{port}"


def _shown(argv: list[str]) -> str:
    """Interpreter and script shortened to what matters."""
    return " ".join(["python", *argv[argv.index(CLIENT) + 1 :]])
