"""What a script will ask for that is not here, found by reading it, before a flow has to find out.

Three kinds: attributes of `ctx` and `ctx.master` that have no counterpart, which is an error; commands of mitmproxy's
own tools, which fail when they are called; and hooks that are never called.  The latter two are warned of, since the
rest of such a script may well do what it is for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pointsman.addons.script import Script

CONTEXT = frozenset(("log", "master", "options"))
MASTER = frozenset(("addons", "commands", "log", "options", "shutdown"))
TOOLS = frozenset(
    (
        "analyze", "browser", "commands", "console", "cut", "dns", "export", "flow", "grideditor", "options", "play",
        "proxyauth", "replay", "save", "script", "set", "view",
    )
)  # fmt: skip
"""First words of the commands that mitmproxy's own addons have."""
NEVER_CALLED = {
    "http_connect": "CONNECT of an app to a proxy comes to the request hooks",
    "http_connect_upstream": "a CONNECT of ours is not shown",
    "http_connected": "a CONNECT of ours is not shown",
    "http_connect_error": "a CONNECT of ours is not shown",
    "next_layer": "which protocol it is, is decided before",
    "tls_start_client": "TLS is the proxy's own business; tls_established_client says how it went",
    "tls_start_server": "TLS is the proxy's own business; tls_established_server says how it went",
    "dns_request": "DNS does not pass through the proxy",
    "dns_response": "DNS does not pass through the proxy",
    "dns_error": "DNS does not pass through the proxy",
    "udp_start": "UDP does not pass through the proxy",
    "udp_message": "UDP does not pass through the proxy",
    "udp_end": "UDP does not pass through the proxy",
    "udp_error": "UDP does not pass through the proxy",
    "quic_start_client": "QUIC does not pass through the proxy",
    "quic_start_server": "QUIC does not pass through the proxy",
    "socks5_auth": "the proxy is no SOCKS server",
    "update": "there is no list of flows that could change",
    "add_log": "use the module logging",
    "clientconnect": "its name is client_connected now",
    "clientdisconnect": "its name is client_disconnected now",
    "serverconnect": "its name is server_connected now",
    "serverdisconnect": "its name is server_disconnected now",
    "websocket_handshake": "its name is websocket_start now",
    "websocket_error": "websocket_end comes instead, and flow.error says why",
}


def never_called(script: Script) -> list[str]:
    """Hooks that the script has in vain, with the reason."""
    return [f"{name} is never called here: {why}" for name, why in NEVER_CALLED.items() if any(script.hook(name))]


class Foresight(ast.NodeVisitor):
    """Of one script's text."""

    def __init__(self, text: str) -> None:
        """Raises SyntaxError."""
        self.missing: list[tuple[int, str]] = []
        """Line and dotted name of what is not there."""
        self.commands: list[tuple[int, str]] = []
        """Line and name of each command of mitmproxy's tools that it calls."""
        tree = ast.parse(text)
        self._words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        """A script that asks whether something is there names it in quotes."""
        self._names = set(_names_of_context(tree))
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = {argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        hidden = self._names & arguments
        self._names -= hidden
        self.generic_visit(node)
        self._names |= hidden

    def visit_Attribute(self, node: ast.Attribute) -> None:
        of = self._context_path(node.value)
        known = {(): CONTEXT, ("master",): MASTER}.get(of) if of is not None else None
        if known is not None and node.attr not in known and node.attr not in self._words:
            self.missing.append((node.lineno, ".".join(("ctx", *(of or ()), node.attr))))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = self._context_path(node.func)
        if called == ("master", "commands", "call") and node.args and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            first = name.partition(".")[0]
            if first in TOOLS and first not in self._words:
                self.commands.append((node.lineno, name))
        self.generic_visit(node)

    def _context_path(self, node: ast.expr) -> tuple[str, ...] | None:
        """The attributes of `ctx` that lead to it; None if it has nothing to do with `ctx`."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        path = [node.id, *reversed(path)]
        if path[:2] == ["mitmproxy", "ctx"]:
            return tuple(path[2:])
        return tuple(path[1:]) if path[0] in self._names else None


def _names_of_context(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "mitmproxy":
            for alias in node.names:
                if alias.name == "ctx":
                    yield alias.asname or alias.name
