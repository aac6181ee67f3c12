"""`--addon builtin:modify_body --set 'modify_body=/~s/regex/replacement'`: replace in bodies, coded as they were.

A replacement `@file` is read from that file once, when it is loaded.  A body that cannot be decoded, or is streamed,
passes unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pointsman.addons.api import HttpFlow, Loader, OptionsError, Request, Response, ctx
from pointsman.addons.flowfilter import Filter
from pointsman.addons.spec import parse_specs, regex

FILE_LIMIT = 16 * 1024 * 1024  # bytes


class ModifyBody:
    def __init__(self) -> None:
        self._specs: list[tuple[Filter, re.Pattern[bytes], bytes]] = []

    def load(self, loader: Loader) -> None:
        loader.add_option("modify_body", Sequence[str], [], "/FILTER/REGEX/REPLACEMENT or /FILTER/REGEX/@FILE")

    def configure(self, _updated: set[str]) -> None:
        self._specs = []
        for spec in parse_specs("modify_body", ctx.options.modify_body):
            regex("modify_body", spec.subject)
            compiled = re.compile(spec.subject.encode(), re.DOTALL)
            self._specs.append((spec.filter, compiled, _replacement(compiled, spec.replacement)))

    def request(self, flow: HttpFlow) -> None:
        if flow.response is None:  # else another addon has answered, and the request goes nowhere
            self._modify(flow, flow.request)

    def response(self, flow: HttpFlow) -> None:
        assert flow.response is not None, "it is what this hook is about"
        self._modify(flow, flow.response)

    def _modify(self, flow: HttpFlow, message: Request | Response) -> None:
        for filter_, subject, replacement in self._specs:
            if not message.raw_content or not filter_(flow):
                continue
            try:
                content = message.content or b""
            except ValueError:
                return  # damaged, or a coding that is not known here
            changed = subject.sub(replacement, content)
            if changed != content:
                message.content = changed


def _replacement(subject: re.Pattern[bytes], text: str) -> bytes:
    if text.startswith("@"):
        try:
            with Path(text[1:]).open("rb") as file:
                return file.read(FILE_LIMIT).replace(b"\\", b"\\\\")
        except OSError as error:
            raise OptionsError(f"modify_body: cannot read {text[1:]}: {error}") from error
    replacement = text.encode()
    try:
        subject.sub(replacement, b"")
    except (re.error, IndexError) as error:
        raise OptionsError(f"modify_body: no replacement: {text!r}: {error}") from error
    return replacement


addons = [ModifyBody()]
