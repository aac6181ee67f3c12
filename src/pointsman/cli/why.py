"""`pointsman why`: what would become of a connection, by which rule, decided by whom."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from pointsman.cli import options
from pointsman.cli.policy import app_bytes, minute_of_week
from pointsman.control.policy_file import load_policy_or_default
from pointsman.errors import Exit, PointsmanError
from pointsman.policy.explain import explain, readable
from pointsman.policy.question import PROTOCOLS, Question, ask, destination, moment


@click.command(short_help="say what becomes of a connection, and why")
@click.argument("app")
@click.argument("dest")
@click.option("--host", metavar="NAME", help="the name in the TLS hello or in the HTTP request")
@options.policy
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="default: tls; http on port 80")
@click.option("--method", metavar="WORD", help="of an HTTP request in clear")
@click.option("--path", metavar="PATH", help="of an HTTP request in clear")
@click.option("--parent", multiple=True, metavar="PATH", help="a program that APP descends from")
@click.option("--user", multiple=True, metavar="NAME", help="whose process it is")
@click.option("--service", multiple=True, metavar="NAME", help="a Windows service in it")
@click.option("--at", metavar='"mon 09:00"', help="local time; default: now")
@click.option("--new", is_flag=True, help="APP has started just now: the kernel does not know it yet")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def why(
    app: str, dest: str, host: str | None, policy: Path | None, protocol: str | None, method: str | None,
    path: str | None, parent: tuple[str, ...], user: tuple[str, ...], service: tuple[str, ...], at: str | None,
    *, new: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say what would become of a connection of APP (a path, or a name) to DEST (ADDRESS or ADDRESS:PORT).

    Nothing is sent, and no name is looked up.  Exit status: 0; 2 a question that makes no sense; 3 policy.
    """
    loaded = load_policy_or_default(policy)
    try:
        address, port = destination(dest)
        minute = moment(at) if at is not None else minute_of_week()
    except ValueError as error:
        raise PointsmanError(
            "cannot answer: the question makes no sense",
            code="PM303", seen=f"{dest}{f', --at {at}' if at else ''}", effect="nothing was asked",
            do=f"allowed: {error}", status=Exit.USAGE,
        ) from None  # fmt: skip
    question = Question(
        app=full_path(app), address=address, port=port, protocol=protocol or "", host=host, method=method, path=path,
        parents=parent, users=user, services=service, is_new=new,
    )  # fmt: skip
    asked = ask(loaded, question, minute=minute, app_id=app_bytes, sees_tokens=sys.platform == "win32")
    found = explain(asked)
    click.echo(msgspec.json.encode(asdict(found)).decode() if as_json else readable(found))


def full_path(app: str) -> str:
    """A name becomes the program that a shell would start, if there is one: rules with full paths need to see it."""
    if "/" in app or "\\" in app:
        return app
    found = shutil.which(app)
    return str(Path(found).resolve()) if found else app
