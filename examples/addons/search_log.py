"""Write down what is searched for, with a filter and a file to choose.

pointsman run --addon examples/addons/search_log.py --set search_filter='~d example.com' --set search_log=found.txt
"""

from __future__ import annotations

from pathlib import Path

from pointsman.addons.api import Filter, HttpFlow, Loader, OptionsError, concurrent, ctx, parse


class SearchLog:
    def __init__(self) -> None:
        self.filter: Filter | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option("search_filter", str, "~all", "which requests to look at")
        loader.add_option("search_log", str, "searches.txt", "where to write")

    def configure(self, _updated: set[str]) -> None:
        try:
            self.filter = parse(ctx.options.search_filter)
        except ValueError as error:
            raise OptionsError(str(error)) from error

    @concurrent  # it writes to a disk, which may be slow
    def request(self, flow: HttpFlow) -> None:
        words = flow.request.query.get("q")
        if words and self.filter is not None and self.filter(flow):
            with Path(ctx.options.search_log).open("a", encoding="utf-8") as file:
                file.write(f"{flow.app}\t{flow.request.pretty_host}\t{words}\n")


addons = [SearchLog()]
