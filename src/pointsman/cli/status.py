"""`pointsman status`: what the driver and the proxies do now."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from pointsman.cli import options
from pointsman.cli.run import choose_system
from pointsman.control.overview import Overview, look
from pointsman.errors import Exit
from pointsman.wire.abi import REASON_TEXT, Reason


@click.command(short_help="say what driver and proxy do now")
@options.source
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def status(source: str, *, as_json: bool) -> None:
    """Say what the driver and the proxies do now; each as far as it answers.

    Exit status: 0 connections are intercepted; 1 something is there, and connections go direct all the same (paused, no
    active proxy, a proxy that does not answer); 7 there is no driver, and no proxy.
    """
    overview = look(choose_system(source), has_driver=source == "driver")
    if as_json:
        click.echo(json.dumps(overview.as_json()))
    else:
        for line in lines(overview):
            click.echo(line)
    sys.exit(exit_status(overview))


def exit_status(overview: Overview) -> Exit:
    if overview.intercepts:
        return Exit.OK
    return Exit.FAILED if overview.driver is not None or overview.proxies else Exit.DRIVER_MISSING


def lines(overview: Overview) -> Iterator[str]:
    yield _summary(overview)
    if overview.driver is not None:
        yield from _driver(overview.driver)
    elif overview.driver_error is not None:
        yield f"driver    none: {overview.driver_error}"
    active = overview.active
    for one in overview.proxies:
        yield ""
        yield from _proxy(one, is_active=one is active)


def _summary(overview: Overview) -> str:
    active = overview.active
    if active is None:
        return "connections go direct: no proxy is active"
    left = active["paused_seconds"]
    if left is not None:
        return f"connections go direct: paused for another {duration(left)}"
    if not overview.intercepts:
        return f"connections go direct: process {active['pid']} is about to take over"
    return f"connections are intercepted by process {active['pid']}"


def _driver(driver: dict[str, Any]) -> Iterator[str]:
    yield f"driver    pointsman.sys {driver['version']}, ABI {driver['abi']}, {', '.join(driver['state'])}"
    for one in driver["registrations"]:
        mark = "active" if one["is_active"] else "behind"
        lease = f"lease {one['lease_left_ms']} of {one['lease_ms']} ms left" if one["lease_left_ms"] else "lease over"
        yield f"          registration {one['registration']} of process {one['pid']}: {mark}, {lease}"
    for reason in Reason:
        count = driver["counters"][reason.name.lower()]
        if count:
            yield f"          {count:>10}  {REASON_TEXT[reason]}"


def _proxy(one: dict[str, Any], *, is_active: bool) -> Iterator[str]:
    if "error" in one:
        yield f"proxy     process {one['pid']}: {one['error']}"
        return
    state = one["state"] if one["phase"] != "probation" else "on probation"
    mark = "active" if is_active else "not active"
    yield (
        f"proxy     process {one['pid']}: registration {one['registration']}, {mark}, {state}, "
        f"for {duration(time.time() - one['started'])}"
    )
    yield f"          pointsman {one['version']}, ABI {one['abi']}, on {' and '.join(one['endpoints'])}"
    policy = one["policy"]
    reloads = f"{policy['reloads']} reloads, {policy['refused']} refused"
    yield f"policy    {policy['source']}: {policy['rules']} rules, {reloads}"
    if policy["refusal"]:
        yield from (f"          {line}" for line in policy["refusal"].splitlines())
    counts = one["connections"]
    refused = counts["refused_unredirected"] + counts["refused_foreign_context"] + counts["refused_over_limit"]
    yield (
        f"flows     {counts['open']} open ({counts['open_most']} at most), {counts['accepted']} accepted, "
        f"{refused} refused, {counts['crashed']} crashed"
    )
    records, events = one["flow_records"], one["kernel_events"]
    yield f"records   {records['written']} written, {records['lost']} lost"
    yield f"events    {events['written']} written, {events['lost']} lost in the ring, {events['unwritten']} not written"
    yield f"learned   {one['learned']} entries"


def duration(seconds: float) -> str:
    """`47 s`, `12 min`, `3 h 5 min`"""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
