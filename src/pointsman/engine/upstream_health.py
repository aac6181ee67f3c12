"""Which of an upstream's proxies to try, and in which order: what all connections have learned about them.

Sans-I/O, the time is an argument.  A chain that fails is left out for a time that doubles with each failure in a row,
up to BACK_OFF_MAX; then one connection probes it while the others still leave it out.  When all are left out, the one
that may soonest be tried is tried all the same, so a single proxy that comes back is found by the next connection.

A proxy that says something about the *destination* (refused, unreachable, forbidden) works.  An answer that never
comes may be either's fault: it counts against the proxy when DOUBTS_LIMIT different destinations in a row had none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pointsman.policy.upstreams import Chain, Upstream

BACK_OFF_FIRST = 2.0  # seconds
BACK_OFF_MAX = 120.0  # seconds
PROBE_TIME = 30.0  # seconds that a probe may take before another connection probes, too
DOUBTS_LIMIT = 3  # destinations
MAX_CHAINS = 256  # remembered; more than a policy of sense has

Key = tuple[str, Chain]


@dataclass(slots=True)
class _State:
    failures: int = 0
    """In a row."""
    left_out_until: float = 0.0
    probed_until: float = 0.0
    doubts: set[str] = field(default_factory=set)


class UpstreamHealth:
    def __init__(self) -> None:
        self._states: dict[Key, _State] = {}
        self.failures = 0
        """Of proxies, ever."""

    def order(self, upstream: Upstream, now: float) -> list[Chain]:
        """What to try now, best first; never empty unless the upstream may go direct."""
        chosen: list[Chain] = []
        for chain in upstream.alternatives:
            state = self._states.get((upstream.name, chain))
            if state is None or state.failures == 0:
                chosen.append(chain)
            elif now >= state.left_out_until and now >= state.probed_until:
                state.probed_until = now + PROBE_TIME
                chosen.append(chain)
        if not chosen and not upstream.may_go_direct:
            return [min(upstream.alternatives, key=lambda one: self._state(upstream, one).left_out_until)]
        return chosen

    def worked(self, upstream: Upstream, chain: Chain) -> None:
        self._states.pop((upstream.name, chain), None)

    def failed(self, upstream: Upstream, chain: Chain, now: float) -> None:
        state = self._state(upstream, chain)
        self.failures += 1
        if now < state.left_out_until:
            return  # connections that had begun before: one failure, seen by many
        state.failures += 1
        state.probed_until = 0.0
        state.doubts.clear()
        state.left_out_until = now + min(BACK_OFF_FIRST * 2.0 ** min(state.failures - 1, 30), BACK_OFF_MAX)

    def doubtful(self, upstream: Upstream, chain: Chain, destination: str, now: float) -> None:
        """It was asked for `destination` and has not answered."""
        state = self._state(upstream, chain)
        state.probed_until = 0.0
        state.doubts.add(destination)
        if len(state.doubts) >= DOUBTS_LIMIT:
            self.failed(upstream, chain, now)

    def not_asked(self, upstream: Upstream, chain: Chain) -> None:
        """It was chosen and then not needed: it learns nothing, and another may probe."""
        state = self._states.get((upstream.name, chain))
        if state is not None:
            state.probed_until = 0.0

    def left_out(self, now: float) -> int:
        """How many chains are, for people."""
        return sum(now < state.left_out_until for state in self._states.values())

    def _state(self, upstream: Upstream, chain: Chain) -> _State:
        key = (upstream.name, chain)
        state = self._states.get(key)
        if state is None:
            while len(self._states) >= MAX_CHAINS:
                del self._states[next(iter(self._states))]
            state = self._states[key] = _State()
        return state
