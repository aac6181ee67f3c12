"""The programs and libraries that people run, how to make each fetch a page, and how each is told to trust a root.

Facts: windows-user-space.md 6.2, and the programs' own manuals.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Arguments = Callable[[str, Path], Sequence[str]]
"""Of the URL to fetch and a directory to write to."""

_PYTHON = "python" if sys.platform == "win32" else "python3"
_RUN = "; `pointsman trust run -- COMMAND` sets it for one program"
_JAVA = """
public class Probe {
    public static void main(String[] arguments) throws Exception {
        new java.net.URL(arguments[0]).openStream().read();
    }
}
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    name: str
    program: str | None
    """What to look for in PATH; None: it is nothing that can be started for this."""
    arguments: Arguments
    fix: str


def _curl(url: str, _: Path) -> Sequence[str]:
    return ("-sS", "--noproxy", "*", "--max-time", "15", url)


def _wget(url: str, _: Path) -> Sequence[str]:
    return ("-q", "-O", "-", "--no-proxy", "--tries=1", "--timeout=15", url)


def _git(url: str, _: Path) -> Sequence[str]:
    return ("-c", "http.proxy=", "ls-remote", url + "probe.git")


def _python(url: str, _: Path) -> Sequence[str]:
    return ("-c", f"from urllib.request import *; build_opener(ProxyHandler({{}})).open({url!r}, timeout=15)")


def _requests(url: str, _: Path) -> Sequence[str]:
    return ("-c", f"import requests; requests.get({url!r}, timeout=15)")


def _node(url: str, _: Path) -> Sequence[str]:
    return ("-e", f"require('https').get({url!r}, r => r.resume()).on('error', e => {{ throw e }})")


def _java(url: str, directory: Path) -> Sequence[str]:
    source = directory / "Probe.java"
    source.write_text(_JAVA)
    return (str(source), url)


def _powershell(url: str, _: Path) -> Sequence[str]:
    return ("-NoProfile", "-Command", f"Invoke-WebRequest -UseBasicParsing -Uri {url}")


def _chromium(url: str, directory: Path) -> Sequence[str]:
    """The user's own trust database is looked at; the profile is a new one."""
    sandbox = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    return (
        "--headless", *sandbox, "--disable-gpu", "--no-proxy-server", f"--user-data-dir={directory}", "--dump-dom", url
    )  # fmt: skip


def _nothing(_: str, __: Path) -> Sequence[str]:
    return ()


RUNTIMES = (
    Runtime("curl", "curl", _curl, "CURL_CA_BUNDLE names a file of roots; Windows' own curl asks Windows" + _RUN),
    Runtime("wget", "wget", _wget, "`ca_certificate = FILE` in ~/.wgetrc" + _RUN),
    Runtime("Git", "git", _git, "git config --global http.sslCAInfo FILE; on Windows http.sslBackend schannel" + _RUN),
    Runtime("Python", _PYTHON, _python, "SSL_CERT_FILE; on Windows it reads Windows' store" + _RUN),
    Runtime("Python requests", _PYTHON, _requests, "REQUESTS_CA_BUNDLE, or the package truststore" + _RUN),
    Runtime("Node", "node", _node, "NODE_EXTRA_CA_CERTS, or NODE_USE_SYSTEM_CA=1 where Node knows it" + _RUN),
    Runtime(
        "Java", "java", _java,
        "keytool -importcert -cacerts -alias pointsman -file root.pem;"
        " on Windows -Djavax.net.ssl.trustStoreType=Windows-ROOT" + _RUN,
    ),
    Runtime(
        "PowerShell", "powershell" if sys.platform == "win32" else "pwsh", _powershell,
        "`pointsman ca install`: .NET asks the system",
    ),
    Runtime(
        "Chromium", "chromium", _chromium,
        "Windows: `pointsman ca install`; Linux: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n Pointsman -i root.pem",
    ),
    Runtime(
        "Firefox", None, _nothing,
        "from 120 on it takes roots added to Windows' store; else security.enterprise_roots.enabled in about:config,"
        " or the policy Certificates, Install",
    ),
    Runtime("Go programs", None, _nothing, "they ask Windows; on Linux SSL_CERT_FILE" + _RUN),
    Runtime(
        "programs that pin a certificate", None, _nothing,
        "they cannot be decrypted; each host is relayed once they have refused",
    ),
)  # fmt: skip
