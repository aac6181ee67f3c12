"""`pointsman why`: what would become of a connection, by which rule, decided by whom.

Decides which programs and addresses a name may mean, and puts the question for each; the answers are
`policy.explain`'s.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from ipaddress import ip_address
from pathlib import Path

import click
import msgspec

from pointsman.cli import options
from pointsman.cli.policy import app_bytes, minute_of_week
from pointsman.cli.run import choose_processes, choose_system
from pointsman.cli.status import duration
from pointsman.control.commands import CommandError
from pointsman.control.commands import ask as ask_proxy
from pointsman.control.policy_file import load_policy_or_default
from pointsman.errors import Exit, PointsmanError
from pointsman.policy.apps import normal
from pointsman.policy.explain import Explanation, explain, readable
from pointsman.policy.question import (
    PROTOCOLS,
    UNRESOLVED,
    Question,
    ask,
    destination,
    moment,
    named,
    named_destination,
)
from pointsman.policy.rules import Policy
from pointsman.policy.tables import Address

MAX_PROGRAMS = 16  # of one name
MAX_ADDRESSES = 16  # of one host
PAUSE_TIMEOUT = 0.5  # seconds for a proxy that may hang


@click.command(short_help="say what becomes of a connection, and why")
@click.argument("app")
@click.argument("dest")
@click.option("--host", metavar="NAME", help="the name in the TLS hello or in the HTTP request; default: DEST's name")
@click.option("--address", multiple=True, metavar="ADDRESS", help="what DEST's name means; default: ask the resolver")
@options.policy
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="default: tls; http on port 80")
@click.option("--method", metavar="WORD", help="of an HTTP request in clear")
@click.option("--path", metavar="PATH", help="of an HTTP request in clear")
@click.option("--parent", multiple=True, metavar="PATH", help="a program that APP descends from")
@click.option("--user", multiple=True, metavar="NAME", help="whose process it is")
@click.option("--service", multiple=True, metavar="NAME", help="a Windows service in it")
@click.option("--at", metavar='"mon 09:00"', help="local time; default: now")
@click.option("--new", is_flag=True, help="APP has started just now: the kernel does not know it yet")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each answer")
def why(
    app: str, dest: str, host: str | None, address: tuple[str, ...], policy: Path | None, protocol: str | None,
    method: str | None, path: str | None, parent: tuple[str, ...], user: tuple[str, ...], service: tuple[str, ...],
    at: str | None, *, new: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say what would become of a connection of APP to DEST (ADDRESS or NAME, perhaps with :PORT).

    APP is a path or a name: the programs of that name that run, or the one that a shell would start, or else one in a
    place that nobody knows.  Where the answer differs between programs or addresses there are several.  Nothing is
    sent but the question for DEST's addresses.

    Exit status: 0; 2 a question that makes no sense; 3 policy.
    """
    loaded = load_policy_or_default(policy)
    try:
        name, addresses, port = reading(dest, address)
        minute = moment(at) if at is not None else minute_of_week()
        host = named(host) if host is not None else name
    except ValueError as error:
        raise PointsmanError(
            "cannot answer: the question makes no sense",
            code="PM303", seen=f"{dest}{f', --at {at}' if at else ''}", effect="nothing was asked",
            do=f"allowed: {error}", status=Exit.USAGE,
        ) from None  # fmt: skip
    if not addresses and name is not None:
        addresses = resolved(name, port)
        if not addresses:
            click.echo(f"{name} does not resolve here: answered for some public address ({UNRESOLVED})", err=True)
    question = Question(
        app=app, address=UNRESOLVED, port=port, protocol=protocol or "", host=host, method=method, path=path,
        parents=parent, users=user, services=service, is_new=new,
    )  # fmt: skip
    left = paused()
    if left is not None:
        click.echo(f"now everything goes direct: paused for another {duration(left)}; after that:", err=True)
    answers = answered(loaded, question, minute, programs(app), addresses or [UNRESOLVED])
    for found, apps, targets in answers:
        row = {**asdict(found), "apps": apps, "addresses": [str(one) for one in targets], "host": host, "port": port}
        click.echo(msgspec.json.encode(row).decode() if as_json else text_of(found, apps, targets, name, len(answers)))


def paused() -> float | None:
    """Seconds for which the proxy that runs here lets everything go direct; None without one, and if it does not.

    Asks those alone that have a control channel open, and each for a moment only.
    """
    try:
        system = choose_system()
    except PointsmanError:  # no driver here; a Linux gateway has none
        if sys.platform != "linux":
            return None
        system = choose_system("netfilter")
    for pid in system.control.peers():
        try:
            told = ask_proxy(system, pid, "status", timeout=PAUSE_TIMEOUT)
        except (OSError, CommandError):
            continue  # it hangs or is gone: then no pause of its own counts
        if told.get("phase") == "paused" and told.get("state") == "serving":
            return float(told["paused_seconds"] or 0)
    return None


def reading(dest: str, given: tuple[str, ...]) -> tuple[str | None, list[Address], int]:
    """DEST as a name, or as an address.  Raises ValueError with what is allowed."""
    addresses: list[Address] = [ip_address(one) for one in given]
    try:
        address, port = destination(dest)
    except ValueError:
        name, port = named_destination(dest)
        return name, addresses, port
    if addresses:
        raise ValueError("--address with a name as DEST, which it explains")
    return None, [address], port


def resolved(name: str, port: int) -> list[Address]:
    """By the system's resolver, which has its own limit of time; empty if it knows none."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    texts = dict.fromkeys(str(where[0]).partition("%")[0] for *_, where in found)
    return [ip_address(text) for text in texts][:MAX_ADDRESSES]


def programs(app: str) -> list[str]:
    """What APP may mean: itself if it is a path; rules with full paths need to see one."""
    if "/" in app or "\\" in app:
        return [app]
    wanted = {normal(app), f"{normal(app)}.exe"}
    running = sorted(one for one in choose_processes().running() if normal(one).rpartition("/")[2] in wanted)
    if running:
        return running[:MAX_PROGRAMS]
    found = shutil.which(app)
    return [str(Path(found).resolve()) if found else app]


def answered(
    policy: Policy, question: Question, minute: int, apps: Iterable[str], addresses: Iterable[Address]
) -> list[tuple[Explanation, list[str], list[Address]]]:
    """One for each way that it may come out, with the programs and addresses for which it does."""
    found: dict[tuple[object, ...], tuple[Explanation, dict[str, None], dict[Address, None]]] = {}
    for app in apps:
        outcomes: dict[tuple[object, ...], tuple[Explanation, list[Address]]] = {}
        for address in addresses:
            asked = ask(
                policy, replace(question, app=app, address=address), minute=minute, app_id=app_bytes,
                sees_tokens=sys.platform == "win32",
            )  # fmt: skip
            one = explain(asked)
            key: tuple[object, ...] = (one.action, one.rule, one.line, one.decided_by, one.kernel, one.fails_open)
            outcomes.setdefault(key, (one, []))[1].append(address)
        for key, (one, some) in outcomes.items():
            _, of_apps, of_addresses = found.setdefault((*key, *some), (one, {}, {}))
            of_apps[app] = None
            of_addresses.update(dict.fromkeys(some))
    return [(one, list(some), list(others)) for one, some, others in found.values()]


def text_of(found: Explanation, apps: list[str], addresses: list[Address], name: str | None, answers: int) -> str:
    """The answer, and whom it is about where that was not said in the question."""
    rows = [readable(found)]
    if answers > 1 or len(apps) > 1:
        rows.append(f"  app:     {', '.join(apps)}")
    if name is not None:
        rows.append(f"  to:      {name} ({', '.join(map(str, addresses))})")
    return "\n".join(rows)
