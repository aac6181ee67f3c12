"""`--addon builtin:delay --set 'delay=/~d slow.example/1.5' --set 'throttle=/~all/50000'`: a worse network.

`delay`: seconds before a request goes on.  `throttle`: bytes a second; an answer is kept back for as long as its body
would take, then sent at once.  Other flows do not wait for these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pointsman.addons.api import HttpFlow, Loader, budget, ctx
from pointsman.addons.flowfilter import Filter
from pointsman.addons.spec import checked, filtered

LONGEST = 300.0  # seconds that a flow is kept back by either


class Delay:
    def __init__(self) -> None:
        self._delays: list[tuple[Filter, float]] = []
        self._rates: list[tuple[Filter, float]] = []

    def load(self, loader: Loader) -> None:
        loader.add_option("delay", Sequence[str], [], "/FILTER/SECONDS before a request goes on")
        loader.add_option("throttle", Sequence[str], [], "/FILTER/BYTES-A-SECOND of an answer's body")

    def configure(self, _updated: set[str]) -> None:
        self._delays = [_number("delay", text, "seconds") for text in ctx.options.delay]
        self._rates = [_number("throttle", text, "bytes a second") for text in ctx.options.throttle]

    @budget(LONGEST + 1)
    async def requestheaders(self, flow: HttpFlow) -> None:
        seconds = max((seconds for filter_, seconds in self._delays if filter_(flow)), default=0.0)
        await asyncio.sleep(min(seconds, LONGEST))

    @budget(LONGEST + 1)
    async def response(self, flow: HttpFlow) -> None:
        assert flow.response is not None, "it is what this hook is about"
        rate = min((rate for filter_, rate in self._rates if filter_(flow)), default=None)
        if rate is not None:
            await asyncio.sleep(min(len(flow.response.raw_content or b"") / rate, LONGEST))


def _number(option: str, text: str, unit: str) -> tuple[Filter, float]:
    filter_, value = filtered(option, text)
    return filter_, checked(option, value, float, unit)


addons = [Delay()]
