"""`--addon builtin:map_local --set 'map_local=|example.com/static|./folder'`: answer from files instead of the origin.

The replacement is a file, or a folder in which the rest of the URL's path is looked for (`index.html` for a folder).
Nothing outside that folder is ever read, not through `..` nor through a link.  What is not there is a 404.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from pointsman.addons.api import HttpFlow, Loader, OptionsError, Response, concurrent, ctx
from pointsman.addons.flowfilter import Filter
from pointsman.addons.spec import parse_specs, regex

SIZE_LIMIT = 64 * 1024 * 1024  # bytes of a file


class MapLocal:
    def __init__(self) -> None:
        self._specs: list[tuple[Filter, re.Pattern[str], Path]] = []

    def load(self, loader: Loader) -> None:
        loader.add_option("map_local", Sequence[str], [], "|FILTER|URL-REGEX|FILE-OR-FOLDER")

    def configure(self, _updated: set[str]) -> None:
        self._specs = []
        for spec in parse_specs("map_local", ctx.options.map_local):
            path = Path(spec.replacement).expanduser()
            if not path.exists():
                raise OptionsError(f"map_local: no such file or folder: {spec.replacement}")
            self._specs.append((spec.filter, regex("map_local", spec.subject), path.resolve()))

    @concurrent  # it reads files
    def request(self, flow: HttpFlow) -> None:
        if flow.response is not None or flow.killed:
            return
        was_mapped = False
        for filter_, subject, path in self._specs:
            found = subject.search(flow.request.pretty_url)
            if found is None or not filter_(flow):
                continue
            was_mapped = True
            for candidate in _candidates(path, flow.request.pretty_url[found.end() :]):
                data = _read(candidate)
                if data is not None:
                    flow.response = Response.make(200, data, {"Content-Type": _type(candidate)})
                    return
        if was_mapped:
            flow.response = Response.make(404, "Pointsman: map_local has no such file\n")


def _candidates(path: Path, rest: str) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    inside = unquote(rest.partition("?")[0].partition("#")[0]).lstrip("/")
    if "\0" in inside:
        return
    for candidate in (path / inside, path / inside / "index.html"):
        resolved = candidate.resolve()
        if resolved.is_relative_to(path):
            yield resolved


def _read(path: Path) -> bytes | None:
    try:
        if not path.is_file() or path.stat().st_size > SIZE_LIMIT:
            return None
        return path.read_bytes()
    except OSError:
        return None  # gone, or not ours to read: as if it were not there


def _type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


addons = [MapLocal()]
