"""Which proxy is tried: what failed is left out for a growing time, is probed by one, and comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.engine.upstream_health import BACK_OFF_FIRST, BACK_OFF_MAX, DOUBTS_LIMIT, MAX_CHAINS, UpstreamHealth
from pointsman.policy.upstreams import Chain, Hop, Upstream

A, B = (Hop("http", "a.example", 1),), (Hop("socks5", "b.example", 2),)
BOTH = Upstream("u", (A, B))
DIRECT = Upstream("d", (A, B), may_go_direct=True)


def test_all_that_is_not_known_to_fail_is_tried_in_the_order_of_the_policy() -> None:
    assert UpstreamHealth().order(BOTH, 0.0) == [A, B]


def test_what_failed_is_left_out_and_then_probed_by_one_connection_alone() -> None:
    health = UpstreamHealth()
    health.failed(BOTH, A, 100.0)
    assert health.order(BOTH, 100.0) == [B]
    assert health.left_out(100.0) == 1

    after = 100.0 + BACK_OFF_FIRST
    assert health.order(BOTH, after) == [A, B], "the probe"
    assert health.order(BOTH, after) == [B], "while it is under way"
    health.worked(BOTH, A)
    assert health.order(BOTH, after) == [A, B]


def test_each_failure_in_a_row_doubles_the_time_up_to_a_bound() -> None:
    health, now, pauses = UpstreamHealth(), 0.0, []
    for _ in range(10):
        health.failed(BOTH, A, now)
        pause = 0.5
        while A not in health.order(BOTH, now + pause):
            pause += 0.5
        pauses.append(pause)
        now += pause

    assert pauses[:4] == [BACK_OFF_FIRST, 2 * BACK_OFF_FIRST, 4 * BACK_OFF_FIRST, 8 * BACK_OFF_FIRST]
    assert pauses[-1] == BACK_OFF_MAX


def test_one_failure_seen_by_many_connections_counts_once() -> None:
    health = UpstreamHealth()
    for _ in range(50):
        health.failed(BOTH, A, 1.0)

    assert A in health.order(BOTH, 1.0 + BACK_OFF_FIRST)


def test_when_all_are_left_out_the_one_that_may_soonest_be_tried_is_tried() -> None:
    health = UpstreamHealth()
    health.failed(BOTH, A, 10.0)
    health.failed(BOTH, B, 11.0)

    assert health.order(BOTH, 11.5) == [A]


def test_when_all_are_left_out_an_upstream_that_may_go_direct_tries_none() -> None:
    health = UpstreamHealth()
    health.failed(DIRECT, A, 10.0)
    health.failed(DIRECT, B, 10.0)

    assert health.order(DIRECT, 11.0) == []
    assert health.order(DIRECT, 10.0 + BACK_OFF_FIRST) == [A, B]


def test_a_destination_that_never_answers_does_not_put_a_proxy_out_but_several_do() -> None:
    health = UpstreamHealth()
    for _ in range(20):
        health.doubtful(DIRECT, A, "black.example", 1.0)
    assert health.order(DIRECT, 1.0) == [A, B]
    for number in range(DOUBTS_LIMIT):
        health.doubtful(DIRECT, A, f"{number}.example", 1.0)
    assert health.order(DIRECT, 1.0) == [B]


def test_one_answer_ends_all_doubt() -> None:
    health = UpstreamHealth()
    for number in range(30):
        health.doubtful(BOTH, A, f"{number}.example", 1.0)
        health.worked(BOTH, A)

    assert health.order(BOTH, 1.0) == [A, B]


def test_a_probe_that_was_not_needed_leaves_the_probing_to_another() -> None:
    health = UpstreamHealth()
    health.failed(BOTH, B, 0.0)
    assert health.order(BOTH, BACK_OFF_FIRST) == [A, B]
    health.not_asked(BOTH, B)
    assert health.order(BOTH, BACK_OFF_FIRST) == [A, B]


def test_what_is_remembered_is_bounded() -> None:
    health = UpstreamHealth()
    for number in range(3 * MAX_CHAINS):
        health.failed(Upstream(str(number), (A,)), A, 0.0)

    assert health.left_out(0.5) == MAX_CHAINS


@given(st.lists(st.tuples(st.sampled_from(["failed", "worked", "order"]), st.sampled_from([A, B]), st.floats(0, 50))))
def test_there_is_always_something_to_try_in_the_order_of_the_policy(script: list[tuple[str, Chain, float]]) -> None:
    health, now = UpstreamHealth(), 0.0
    for what, chain, pause in script:
        now += pause
        if what == "failed":
            health.failed(BOTH, chain, now)
        elif what == "worked":
            health.worked(BOTH, chain)
        assert health.order(BOTH, now) in ([A, B], [A], [B])
