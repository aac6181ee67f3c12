"""Options that several commands take, said once."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

policy = click.option(
    "--policy", type=PATH, metavar="FILE", help="rules (TOML); without: inspect TLS and HTTP, block QUIC"
)
upstream_ca = click.option(
    "--upstream-ca", type=PATH, multiple=True, metavar="FILE", help="PEM file of a CA that the proxy accepts upstream"
)
addons = click.option(
    "--addon", "addons", multiple=True, metavar="FILE", help="addon to ask about intercepted traffic, or builtin:NAME"
)
addon_settings = click.option(
    "--set", "addon_settings", multiple=True, metavar="NAME=VALUE", help="an option that an addon declares"
)
flows = click.option("--flows", type=PATH, metavar="FILE", help="append flow records to FILE as JSON lines")
