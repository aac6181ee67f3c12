"""The law: compiled filters in the real driver, and then the proxy, do what the reference evaluator says.

The driver's own code runs, on simwfp, under each reading of what Windows leaves open.  Where the driver lets a
connection go direct for a reason of its own (private destination, the system's process, not TCP, ...) the reference is
`policy.outcome`, which knows these reasons; that is also what `pointsman why` prints.

A failing case prints the seed of its run in the test's name; put it into `driver.seeds`, so that it stays.  More seeds
for one run: POINTSMAN_POLICY_SEEDS=101,102.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import cycle
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.lab.simulator import Knobs
from pointsman.policy import sight as sight_module
from pointsman.policy.compile import compile_policy
from pointsman.policy.decision import Action
from pointsman.policy.match import UNKNOWN, Connection, evaluate, match_rule, possible
from pointsman.policy.outcome import Outcome, outcome
from pointsman.policy.rules import Policy, Protocol
from pointsman.policy.sight import Sight
from pointsman.policy.situation import Situation, destination_reason
from pointsman.policy.tables import Address
from pointsman.wire.abi import Reason, Verdict

from . import generator
from .driver import Driver, app_id, seeds

KNOBS = {
    "lab": Knobs(),
    "mapped authorised at V6": Knobs(v4mapped_v6_only=1),
    "authorised twice": Knobs(auth_twice=1),
    "authorised once": Knobs(auth_twice=2),
    "acquire sets no block": Knobs(acquire_sets_block=0),
    "entry action so far": Knobs(entry_action_so_far=1, native_block_vetoes=1),
    "ties shuffled, block at redirect": Knobs(
        tie_seed=99, block_at_redirect=1, empty_matches_not_equal=1, classify_irql=0
    ),
    "ties in the order of adding": Knobs(tie_order=1, auto_weight=1, local_address_writable=1),
    "ties in reverse, flows told otherwise": Knobs(
        tie_order=2, auto_weight=2, unregistered_block_soft=1, reauth_block_drops=1, peer_is_redirected=1
    ),
}
"""Together they turn every knob of the simulator but those of time and of a stopped filter engine."""
POLICIES, CONNECTIONS = 250, 20
"""For each knob and seed: 9 x 250 x 20 = 45,000 cases."""


def what_happens(driver: Driver, policy: Policy, case: generator.Case) -> Action:
    match driver.verdict(case.connection, case.situation):
        case Verdict.PASS:
            return Action.DIRECT
        case Verdict.BLOCK:
            return Action.BLOCK
        case Verdict.REDIRECT:
            # The proxy's turn, with all that it learned; the program by what the driver and the system tell of it.
            return evaluate(policy, replace(case.connection, app=driver.program)).action


def check(driver: Driver, policy: Policy, sight: Sight, case: generator.Case) -> Outcome:
    foretold = outcome(policy, case.connection, sight, case.situation)
    verdict = driver.verdict(case.connection, case.situation)
    assert verdict is foretold.kernel.verdict, generator.describe(policy, case)
    assert what_happens(driver, policy, case) is foretold.action, generator.describe(policy, case)
    first = next((rule for rule in policy.rules if match_rule(rule, case.connection)), None)
    assert foretold.wanted.rule is first, "the first rule that matches decides"
    assert_only_for_a_reason(foretold, case.connection, sight)
    return foretold


def assert_only_for_a_reason(foretold: Outcome, connection: Connection, sight: Sight) -> None:
    """What happens is what the rules mean, but where the kernel alone must act and cannot know enough."""
    if not foretold.fails_open:
        return
    wanted = foretold.wanted.rule
    by_name_only = wanted is not None and wanted.app.is_open and connection.app not in sight.running
    if foretold.action is Action.BLOCK:
        assert by_name_only or (wanted is not None and sight.is_late(wanted)), "blocked against the rules"
    assert foretold.kernel.reason is not Reason.PASSED_BY_RULE or connection.protocol is Protocol.UDP


@pytest.mark.parametrize(("knobs", "seed"), list(zip(cycle(KNOBS), seeds(), strict=False)))
def test_the_driver_and_then_the_proxy_do_what_the_evaluator_says(knobs: str, seed: int) -> None:
    random = Random(seed)
    seen: set[tuple[Action, Reason]] = set()
    programs: set[str | None] = set()
    with Driver(KNOBS[knobs]) as driver:
        for _ in range(POLICIES):
            one_seed = random.getrandbits(64)
            one = Random(one_seed)
            policy = generator.policy(one)
            sight = Sight(app_id, running=generator.running(one))
            driver.load(compile_policy(policy, driver.registration, sight))
            for _ in range(CONNECTIONS):
                case = generator.case(one)
                try:
                    foretold = check(driver, policy, sight, case)
                except AssertionError as error:
                    raise AssertionError(f"seed {one_seed} under {knobs}: {error}") from None
                seen.add((foretold.action, foretold.kernel.reason))
                programs.add(driver.program)
    assert generator.LONG in programs, "no path was cut: the cases prove nothing"
    for action in (Action.DIRECT, Action.BLOCK, Action.RELAY, Action.INSPECT):
        assert any(one is action for one, _ in seen), f"no {action}: the cases prove nothing"
    for reason in (Reason.PRIVATE_DESTINATION, Reason.OWN_PROCESS, Reason.LOCAL_BINDING, Reason.PASSED_BY_RULE):
        assert any(one is reason for _, one in seen), f"no {reason}: the cases prove nothing"


def test_every_knob_is_turned() -> None:
    plain = Knobs()
    fixed = {"real_clock", "bfe_stopped"}
    names = {str(field[0]) for field in Knobs._fields_} - fixed
    assert {name for name in names for knobs in KNOBS.values() if getattr(knobs, name) != getattr(plain, name)} == names


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_the_law_with_a_case_that_can_be_shrunk(seed: int) -> None:
    random = Random(seed)
    policy, sight = generator.policy(random), Sight(app_id, running=generator.running(random))
    with Driver(Knobs()) as driver:
        driver.load(compile_policy(policy, driver.registration, sight))
        for _ in range(5):
            check(driver, policy, sight, generator.case(random))


def test_where_sealing_is_too_dear_all_goes_to_the_proxy_and_the_law_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight_module, "MAX_SEAL_CONDITIONS", 0)
    random = Random(8)
    swept = 0
    with Driver(Knobs()) as driver:
        for _ in range(100):
            policy, sight = generator.policy(random), Sight(app_id, running=generator.running(random))
            handing = sight_module.hand_over(policy, sight.with_paths_of(policy))
            swept += handing is not None and handing.is_sweeping
            driver.load(compile_policy(policy, driver.registration, sight))
            for _ in range(10):
                check(driver, policy, sight, generator.case(random))
    assert swept > 10


def test_what_needs_no_late_fact_never_bothers_the_proxy() -> None:
    random = Random(9)
    settled = 0
    for _ in range(2000):
        policy, case = generator.policy(random), generator.case(random)
        if any(rule.app.is_open for rule in policy.rules):
            continue
        seen = replace(
            case.connection,
            host=UNKNOWN,
            detected=UNKNOWN,
            method=UNKNOWN,
            path=UNKNOWN,
            ancestors=UNKNOWN,
            users=UNKNOWN,
        )
        decisions = possible(policy, seen)
        if len(decisions) == 1 and decisions[0].action.is_for_kernel:
            settled += 1
            assert not outcome(policy, case.connection, Sight(app_id), case.situation).is_by_proxy
    assert settled > 200


def test_address_classes_are_those_of_the_driver() -> None:
    """Inspect all: exactly the public addresses are redirected.  Block all: all but loopback is blocked."""
    random = Random(10)
    addresses: list[Address] = [
        *map(IPv4Address, _edges()),
        *(IPv4Address(random.getrandbits(32)) for _ in range(1500)),
    ]
    wide = [IPv6Address(random.getrandbits(128)) for _ in range(500)]
    wide += [IPv6Address(top << 112 | random.getrandbits(112)) for top in range(0xFC00, 0x10000, 7)]
    wide += [IPv6Address("64:ff9b::") + int(one) for one in addresses[:200]]
    wide += [IPv6Address("::ffff:0:0") + int(one) for one in addresses[:200]]
    wide += [IPv6Address(text) for text in ("::", "::1", "::2", "100::", "100::1", "100:0:0:1::", "64:ff9b:1::1")]
    inspect, block = Policy((), Action.INSPECT, "test"), Policy((), Action.BLOCK, "test")
    with Driver(Knobs()) as driver:
        for policy in (inspect, block):
            driver.load(compile_policy(policy, driver.registration, Sight(app_id)))
            for address in [*addresses, *wide]:
                connection = Connection("/usr/bin/a", Protocol.TCP, address, 443)
                reason = destination_reason(address)
                expected = Verdict.REDIRECT if reason is None else Verdict.PASS
                if policy is block:
                    expected = Verdict.PASS if reason is Reason.LOOPBACK_DESTINATION else Verdict.BLOCK
                assert driver.verdict(connection, Situation()) is expected, address


def _edges() -> list[int]:
    """Both sides of each border between classes of IPv4 addresses."""
    starts = ["0.0.0.0", "1.0.0.0", "10.0.0.0", "11.0.0.0", "100.64.0.0", "100.128.0.0", "127.0.0.0", "128.0.0.0"]
    starts += ["169.254.0.0", "169.255.0.0", "172.16.0.0", "172.32.0.0", "192.0.0.0", "192.0.1.0", "192.168.0.0"]
    starts += ["192.169.0.0", "198.18.0.0", "198.20.0.0", "224.0.0.0", "240.0.0.0"]
    numbers = {int(IPv4Address(start)) for start in starts}
    return sorted(numbers | {number - 1 for number in numbers if number} | {2**32 - 1})
