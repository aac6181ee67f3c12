"""Options that several commands take, said once."""

from __future__ import annotations

from pathlib import Path

import click

from pointsman.authority.places import default_ca_dir

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
key_log = click.option(
    "--key-log",
    type=PATH,
    metavar="FILE",
    help="write the secrets of all TLS connections to FILE (NSS format), so that Wireshark reads captures",
)
ca_dir = click.option(
    "--ca", "ca_dir", type=PATH, metavar="DIR", default=default_ca_dir, help="where our certificate authority is kept"
)
as_json = click.option("--json", "as_json", is_flag=True, help="as JSON, for programs")
state = click.option(
    "--state", type=PATH, metavar="DIR", help="where the driver's events are kept; default: beside the CA"
)
source = click.option(
    "--source",
    type=click.Choice(["driver", "netfilter"]),
    default="driver",
    help="who redirects: the driver, or nft rules on a Linux gateway (then the proxy listens on every address)",
)
