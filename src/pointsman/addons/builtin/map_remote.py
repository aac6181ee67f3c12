"""`--addon builtin:map_remote --set 'map_remote=/~q/https:\\/\\/old/https://new'`: other URLs than the app asked for.

What a regular expression finds in the URL is replaced; the request goes to where the new URL says, over a connection
of its own, and the origin that the app dialled is not asked.  Pick a separator that is not in the URLs: `|old|new`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pointsman.addons.api import HttpFlow, Loader, OptionsError, ctx
from pointsman.addons.flowfilter import Filter
from pointsman.addons.spec import parse_specs, regex


class MapRemote:
    def __init__(self) -> None:
        self._specs: list[tuple[Filter, re.Pattern[str], str]] = []

    def load(self, loader: Loader) -> None:
        loader.add_option("map_remote", Sequence[str], [], "|FILTER|URL-REGEX|REPLACEMENT")

    def configure(self, _updated: set[str]) -> None:
        self._specs = []
        for spec in parse_specs("map_remote", ctx.options.map_remote):
            subject = regex("map_remote", spec.subject)
            try:
                subject.sub(spec.replacement, "")
            except re.error as error:
                raise OptionsError(f"map_remote: no replacement: {spec.replacement!r}: {error}") from error
            self._specs.append((spec.filter, subject, spec.replacement))

    def request(self, flow: HttpFlow) -> None:
        if flow.response is not None or flow.killed:
            return
        for filter_, subject, replacement in self._specs:
            if filter_(flow):
                url = flow.request.pretty_url
                changed = subject.sub(replacement, url)
                if changed != url:
                    flow.request.url = changed


addons = [MapRemote()]
