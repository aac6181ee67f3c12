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
from pointsman.wire.abi import REASON_TEXT, Reason, State

PARTS = {
    State.PROCESS_NOTIFY: "the watch for new processes",
    State.REDIRECT_HANDLE: "the redirect handle",
    State.CALLOUTS: "the callouts",
    State.OBJECTS: "its objects in the filter engine",
}


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
    return f"connections are intercepted by process {active['pid']}, as its policy says"


def _driver(driver: dict[str, Any]) -> Iterator[str]:
    missing = [PARTS[one] for one in State if one.name and one.name.lower() not in driver["state"]]
    health = f"NOT up: {', '.join(missing)}; `pointsman doctor` says why" if missing else "all of it is up"
    yield f"driver    pointsman.sys {driver['version']}, ABI {driver['abi']}: {health}"
    for one in driver["registrations"]:
        yield f"          process {one['pid']}, registration {one['registration']}: {_place(one)}"
    counts = {reason: driver["counters"][reason.name.lower()] for reason in Reason}
    if any(counts.values()):
        yield "          its decisions since it was loaded:"
    for reason, count in counts.items():
        if count:
            yield f"          {count:>10}  {REASON_TEXT[reason]}"


def _place(one: dict[str, Any]) -> str:
    left = f"{one['lease_left_ms'] / 1000:.1f} of {one['lease_ms'] / 1000:.1f} s"
    if not one["lease_left_ms"]:
        return "its lease is over (hung or suspended), so it gets no connections"
    if one["is_active"]:
        return f"gets the connections; unless it renews its lease ({left} left) they go direct"
    return f"stands by, in case the active one fails; lease {left} left"


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
    reloads = f"reloaded {policy['reloads']} times, {policy['refused']} changes refused"
    yield f"policy    {policy['source']}: {policy['rules']} rules; {reloads}"
    if policy["refusal"]:
        yield from (f"          {line}" for line in policy["refusal"].splitlines())
    counts = one["connections"]
    refused = counts["refused_unredirected"] + counts["refused_foreign_context"] + counts["refused_over_limit"]
    yield (
        f"flows     {counts['open']} connections open (at most {counts['open_most']} at once), {counts['accepted']} "
        f"accepted so far, {refused} refused, {counts['crashed']} ended by a bug"
    )
    records, events = one["flow_records"], one["kernel_events"]
    yield f"records   {records['written']} flow records (`pointsman flows`), {records['lost']} could not be written"
    yield (
        f"events    {events['written']} of the driver kept on disk, {events['lost']} overwritten before they were "
        f"read, {events['unwritten']} could not be written"
    )
    yield f"learned   {one['learned']} program and host pairs go uninspected, since the program refused our certificate"


def duration(seconds: float) -> str:
    """`47 s`, `12 min`, `3 h 5 min`"""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
