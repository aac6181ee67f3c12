"""`--addon builtin:block_list --set 'block_list=:~d ads.example:404'`: answer with a status instead of the origin.

Status 444 gives no answer at all: the connection is reset.  Only for what is intercepted: a rule with the action
`block` in the policy stops the rest, in the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.addons.api import HttpFlow, Loader, OptionsError, Response, ctx
from pointsman.addons.flowfilter import Filter
from pointsman.addons.spec import filtered

NO_ANSWER = 444


class BlockList:
    def __init__(self) -> None:
        self._specs: list[tuple[Filter, int]] = []

    def load(self, loader: Loader) -> None:
        loader.add_option("block_list", Sequence[str], [], "/FILTER/STATUS, 444 for no answer at all")

    def configure(self, _updated: set[str]) -> None:
        self._specs = []
        for text in ctx.options.block_list:
            filter_, status = filtered("block_list", text)
            if not status.isdigit() or not 200 <= int(status) <= 599:
                raise OptionsError(f"block_list: {status!r} is no status from 200 to 599")
            self._specs.append((filter_, int(status)))

    def requestheaders(self, flow: HttpFlow) -> None:
        if flow.response is not None or flow.killed:
            return
        for filter_, status in self._specs:
            if filter_(flow):
                if status == NO_ANSWER:
                    flow.kill()
                else:
                    flow.response = Response.make(status)
                return


addons = [BlockList()]
