"""`--addon builtin:modify_headers --set 'modify_headers=/~q/Name/value'`: set header fields, or take them out.

Each spec first takes out all fields of that name, then adds its value, if it has one.  `~q` alone means requests and
`~s` responses; without either it is both.  A value `@file` is read from that file once, when it is loaded.  Bodies
stream on: this addon needs heads alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pointsman.addons.api import Headers, HttpFlow, Loader, OptionsError, ctx
from pointsman.addons.spec import Spec, parse_specs

VALUE_LIMIT = 64 * 1024  # bytes of a value read from a file


class ModifyHeaders:
    def __init__(self) -> None:
        self._specs: list[Spec] = []

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "modify_headers", Sequence[str], [], "/FILTER/NAME/VALUE, /FILTER/NAME/@FILE or /FILTER/NAME/"
        )

    def configure(self, _updated: set[str]) -> None:
        specs = parse_specs("modify_headers", ctx.options.modify_headers, heads_only=True)
        self._specs = [Spec(spec.filter, spec.subject, _value(spec.replacement)) for spec in specs]

    def requestheaders(self, flow: HttpFlow) -> None:
        self._modify(flow, flow.request.headers)

    def responseheaders(self, flow: HttpFlow) -> None:
        assert flow.response is not None, "it is what this hook is about"
        self._modify(flow, flow.response.headers)

    def _modify(self, flow: HttpFlow, headers: Headers) -> None:
        # All filters first: what one spec changes must not decide whether the next applies.
        specs = [spec for spec in self._specs if spec.filter(flow)]
        for spec in specs:
            headers.pop(spec.subject, None)
        for spec in specs:
            if spec.replacement:
                headers.add(spec.subject, spec.replacement)


def _value(text: str) -> str:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")[:VALUE_LIMIT].strip()
        except (OSError, ValueError) as error:
            raise OptionsError(f"modify_headers: cannot read {text[1:]}: {error}") from error
    if any(bad in text for bad in "\r\n\0"):
        raise OptionsError(f"modify_headers: a value is one line, not {text!r}")
    return text


addons = [ModifyHeaders()]
