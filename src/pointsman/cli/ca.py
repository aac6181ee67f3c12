"""`pointsman ca`: our certificate authority, and who trusts it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click
from cryptography.hazmat.primitives import serialization

from pointsman.authority.issue import ROOT_LIFETIME, permitted_names
from pointsman.authority.root_store import (
    create_root,
    describe,
    finish_rotation,
    issued_roots,
    load_root,
    next_root,
    root_path,
    start_rotation,
)
from pointsman.cli import options
from pointsman.errors import Exit, PointsmanError
from pointsman.system.key_protection import key_protection
from pointsman.system.trust_store import trust_store
from pointsman.trust.install import install_roots, remove_roots, some_store
from pointsman.trust.report import Answer, report

LONGEST_DAYS = 3650


@click.group(short_help="our certificate authority: make, show, install, rotate it")
def ca() -> None:
    """The certificate authority whose leafs apps see when their TLS is inspected.

    `pointsman run` makes one if there is none.
    """


_permitted = click.option(
    "--permit", "permitted", multiple=True, metavar="DOMAIN", help="sign for this domain and below it only (repeatable)"
)


@ca.command()
@options.ca_dir
@_permitted
@click.option("--days", type=click.IntRange(1, LONGEST_DAYS), default=ROOT_LIFETIME.days, help="how long it lives")
def create(ca_dir: Path, permitted: tuple[str, ...], days: int) -> None:
    """Make the root, if there is none.

    Exit status: 0 it was made; 8 there is one already, or it cannot be written.
    """
    root = create_root(ca_dir, key_protection(), permitted=permitted, lifetime=timedelta(days=days))
    click.echo(
        f"{root_path(ca_dir)}: {describe(root.certificate).subject}, good until {describe(root.certificate).until[:10]}"
    )
    click.echo("Apps do not trust it yet: `pointsman ca install`, then `pointsman ca report`.")


@ca.command()
@options.ca_dir
@options.as_json
def show(ca_dir: Path, *, as_json: bool) -> None:
    """Say which roots are in use, and which were."""
    root, coming = load_root(ca_dir, key_protection()), next_root(ca_dir, key_protection())
    store = trust_store()
    states = {describe(root.certificate): "signs"} | ({describe(coming.certificate): "next"} if coming else {})
    rows = [
        {**asdict(one), "state": states.get(one, "old"), "installed": store.has(one.sha1) if store else None}
        for one in issued_roots(ca_dir)
    ]
    if as_json:
        click.echo(json.dumps({"file": str(root_path(ca_dir)), "permitted": permitted_names(root), "roots": rows}))
        return
    click.echo(f"certificate  {root_path(ca_dir)}")
    if permitted_names(root):
        click.echo(f"signs for    {', '.join(permitted_names(root))}, and what is below them")
    for row in rows:
        installed = {True: "installed", False: "not installed", None: "no store here"}[row["installed"]]
        click.echo(f"{row['state']:<12} {row['subject']}, until {str(row['until'])[:10]}, {installed}")
        click.echo(f"             SHA-256 {row['sha256']}")


@ca.command()
@options.ca_dir
@click.option("--format", "form", type=click.Choice(["pem", "der"]), default="pem", help="default: pem")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
def export(ca_dir: Path, form: str, file: Path) -> None:
    """Write the public certificate to FILE, or to standard output.  The key never leaves its file.

    While a rotation is under way PEM holds both roots; DER holds one certificate, the one that signs.
    """
    root = load_root(ca_dir, key_protection())
    data = root_path(ca_dir).read_bytes()
    if form == "der":
        data = root.certificate.public_bytes(serialization.Encoding.DER)
    try:
        with click.open_file(str(file), "wb", atomic=str(file) != "-") as out:
            out.write(data)
    except OSError as error:
        raise PointsmanError(
            f"cannot write {file}",
            code="PM452", seen=(error.strerror or str(error)).lower(), effect="nothing was written",
            do="name a file in a directory that you can write to", status=Exit.BAD_FILE,
        ) from error  # fmt: skip


@ca.command()
@options.ca_dir
def install(ca_dir: Path) -> None:
    """Have this system trust the root (both roots, during a rotation).  Needs an administrator, or root.

    Exit status: 0 it is there, and was looked for again; 1 there is no store here, or it refused.
    """
    load_root(ca_dir, key_protection())
    store = some_store()
    for one in install_roots(ca_dir, store):
        click.echo(f"{one.subject}: in {store.name}")
    click.echo("Not every program asks the system: `pointsman ca report` says which ones trust it.")


@ca.command()
@options.ca_dir
def uninstall(ca_dir: Path) -> None:
    """Take every root that was ever made here out of the system's store.  The files stay.

    Exit status: 0 none is there any more; 1 the store refused.
    """
    store = some_store()
    for one, was_there in remove_roots(ca_dir, store):
        click.echo(f"{one.subject}: {'removed from' if was_there else 'not in'} {store.name}")


@ca.command()
@options.ca_dir
@_permitted
@click.option("--finish", is_flag=True, help="from the next start of a proxy on the new root signs")
def rotate(ca_dir: Path, permitted: tuple[str, ...], *, finish: bool) -> None:
    """Replace the root, with an overlap in which both are to be trusted.

    \b
    pointsman ca rotate            makes the next root; the old one goes on signing
    pointsman ca install           has the system trust both; do the same for what does not ask the system
    pointsman ca rotate --finish   the next one signs, once a proxy has been started: `pointsman run --takeover`
    """
    if finish:
        root = finish_rotation(ca_dir, key_protection())
        click.echo(f"{describe(root.certificate).subject} signs from the next start of a proxy on.")
        click.echo("`pointsman ca uninstall`, then `install`, takes the old one out of the system's store.")
        return
    current, coming = start_rotation(ca_dir, key_protection(), permitted=permitted or None)
    click.echo(
        f"{describe(current.certificate).subject} goes on signing; {describe(coming.certificate).subject} is next."
    )
    click.echo(f"{root_path(ca_dir)} holds both: `pointsman ca install`, and then `pointsman ca rotate --finish`.")


@ca.command("report")
@options.ca_dir
@options.as_json
def report_(ca_dir: Path, *, as_json: bool) -> None:
    """Say which programs trust the root: each that is here fetches a page from loopback that only our root vouches for.

    Exit status: 0 all that could be asked trust it; 1 one does not.
    """
    root = load_root(ca_dir, key_protection())
    findings = report(root)
    if as_json:
        click.echo(json.dumps([{**asdict(one), "answer": one.answer.name.lower()} for one in findings]))
    else:
        for one in findings:
            click.echo(f"{one.name:<34} {one.answer.value}{f'  ({one.program})' if one.program else ''}")
            if one.answer in (Answer.REFUSES, Answer.UNKNOWN):
                click.echo(f"{'':<34}   {one.fix}")
    sys.exit(Exit.FAILED if any(one.answer is Answer.REFUSES for one in findings) else Exit.OK)
