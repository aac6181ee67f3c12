"""How long policies take: to load, to compile, to put into a filter engine, to match.

    python tools/bench_policy.py [--rounds N]

Each number is the median of several rounds, and stands beside something that everybody can place, measured in the same
run: how many times longer it takes.  docs/performance.md keeps the results.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tomllib
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random

from msgspec.structs import replace

from pointsman.control.policy_file import default_policy
from pointsman.lab.app_id import app_id
from pointsman.lab.simulator import Simulator
from pointsman.policy.compile import compile_policy
from pointsman.policy.decision import Decision
from pointsman.policy.index import Index
from pointsman.policy.load import parse_policy
from pointsman.policy.match import UNKNOWN, Connection, evaluate, match_rule, possible
from pointsman.policy.rules import Detected, Policy, Protocol
from pointsman.policy.sight import Sight
from pointsman.system import fwpm

NAMES, NETWORKS, RULES, PROGRAMS = 1_000_000, 1_000_000, 5_000, 200
LOOKUPS = 20_000
PID = 4000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    random = Random(1)
    names = [f"{'*.' if n % 3 == 0 else ''}n{random.getrandbits(40):x}.example{n % 997}.test" for n in range(NAMES)]
    networks = [f"{IPv4Address(0x14000000 + n * 256)}/{24 + n % 9}" for n in range(NETWORKS)]
    hosts(names, rounds)
    prefixes(networks, rounds)
    rules(rounds)


def hosts(names: list[str], rounds: int) -> None:
    data = ("\n".join(names) + "\n").encode()
    text = b'[[rule]]\nhost = "file:list"\naction = "block"\n'
    plain = measure(lambda: set(data.decode().splitlines()), rounds)
    report(
        f"load {len(names):,} names",
        measure(lambda: parse_policy(text, "p", lambda _: data), rounds),
        plain,
        "set(lines)",
    )
    table = parse_policy(text, "p", lambda _: data).rules[0].host
    asked = [f"a.b.{name.removeprefix('*.')}" for name in names[:LOOKUPS]]
    exact = set(names)
    plain = measure(lambda: [name in exact for name in asked], rounds) / LOOKUPS
    report(
        "match one name with 5 labels",
        measure(lambda: [table.matches(one) for one in asked], rounds) / LOOKUPS,
        plain,
        "in a set",
    )


def prefixes(networks: list[str], rounds: int) -> None:
    data = ("\n".join(networks) + "\n").encode()
    text = b'[[rule]]\nnet = "file:list"\naction = "block"\n'
    plain = measure(lambda: set(data.decode().splitlines()), rounds)
    loading = measure(lambda: parse_policy(text, "p", lambda _: data), rounds)
    report(f"load {len(networks):,} networks", loading, plain, "set(lines)")
    table = parse_policy(text, "p", lambda _: data).rules[0].net
    asked = [IPv4Address(0x13000000 + n * 4099) for n in range(LOOKUPS)]
    exact = set(asked)
    plain = measure(lambda: [one in exact for one in asked], rounds) / LOOKUPS
    report(
        f"match one address, {len(table.prefixes)} prefix lengths",
        measure(lambda: [table.matches(one) for one in asked], rounds) / LOOKUPS, plain, "in a set",
    )  # fmt: skip


def rules(rounds: int) -> None:
    text = ['default = "inspect"']
    for n in range(RULES):
        text.append(f'[[rule]]\nname = "rule {n}"\naction = "{("direct", "block", "relay", "inspect")[n % 4]}"')
        text.append(
            (
                f'net = "{IPv4Address(0x14000000 + n * 256)}/24"',
                f'host = "h{n}.example"',
                f"app = '/opt/{n}/app'",
                f'app = "app{n}"\nport = {n + 1}',
            )[n % 5 % 4]
        )
    data = "\n".join(text).encode()
    plain = measure(lambda: tomllib.loads(data.decode()), rounds)
    report(f"load {RULES:,} rules", measure(lambda: parse_policy(data, "p"), rounds), plain, "tomllib.loads")
    policy = parse_policy(data, "p")
    sight = Sight(app_id, frozenset(f"/usr/bin/p{n}" for n in range(PROGRAMS)))
    compiling = measure(lambda: compile_policy(policy, 1, sight), rounds)
    filters = compile_policy(policy, 1, sight)
    conditions = sum(len(one.conditions) for one in filters)
    report(f"compile them: {len(filters):,} filters, {conditions:,} conditions", compiling, plain, "tomllib.loads")
    simulator = Simulator()
    simulator.process_started(PID, parent=1, start=1, image="x")
    ids: list[int] = []

    def load_first() -> float:
        engine = simulator.open_engine(PID)
        start = time.perf_counter()
        ids[:] = simulator.replace_filters(engine, [], filters)
        taken = time.perf_counter() - start
        simulator.close_engine(engine)
        return taken

    building = measure(lambda: [fwpm.build_filter(one) for one in filters], rounds)
    report("build the structures of FwpmFilterAdd0", building, plain, "tomllib.loads")
    report("add them to simwfp", statistics.median(load_first() for _ in range(rounds)), building, "building")
    engine = simulator.open_engine(PID)
    ids[:] = simulator.replace_filters(engine, [], filters)

    def swap() -> None:
        ids[:] = simulator.replace_filters(engine, ids, filters)

    report("swap them all in simwfp, one transaction", measure(swap, rounds), building, "building")
    simulator.close_engine(engine)
    simulator.process_exited(PID)
    simulator.close()
    last = Connection(
        "/usr/bin/x",
        Protocol.TCP,
        IPv4Address("203.0.113.1"),
        9,
        "x.test",
        Detected.TLS,
        None,
        None,
        (),
        frozenset(),
        frozenset(),
    )
    evaluations(policy, last, rounds, f"{RULES:,} rules")
    evaluations(default_policy(), last, rounds, "the built-in policy")


def evaluations(policy: Policy, connection: Connection, rounds: int, name: str) -> None:
    """By the index, against asking every rule."""
    building = measure(lambda: Index.of(policy.rules), rounds)
    evaluate(policy, connection)
    repeated = range(200)

    def by_asking_all() -> bool:
        return any(match_rule(rule, connection) for rule in policy.rules)

    plain = measure(lambda: [by_asking_all() for _ in range(20)], rounds) / 20
    report(f"make the index of {name}, once", building, plain, "asking every rule once")
    by_index = measure(lambda: [evaluate(policy, connection) for _ in repeated], rounds) / len(repeated)
    report(f"evaluate a connection that none of {name} matches", by_index, plain, "asking every rule")
    asked = replace(connection, host=UNKNOWN, detected=UNKNOWN)

    def possible_by_asking_all() -> list[Decision]:
        return [Decision(rule.action, rule) for rule in policy.rules if match_rule(rule, asked) is not False]

    plain = measure(lambda: [possible_by_asking_all() for _ in range(20)], rounds) / 20
    by_index = measure(lambda: [possible(policy, asked) for _ in repeated], rounds) / len(repeated)
    report(f"what is possible of {name} while the host is unknown", by_index, plain, "asking every rule")


def measure(work: Callable[[], object], rounds: int) -> float:
    """Seconds, median."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def report(what: str, seconds: float, against: float, name: str) -> None:
    shown = (
        f"{seconds:.2f} s"
        if seconds >= 0.1
        else f"{seconds * 1e3:.1f} ms"
        if seconds >= 1e-3
        else f"{seconds * 1e6:.2f} us"
    )
    ratio = seconds / against
    print(f"{what:<66} {shown:>10}   {ratio:8.{1 if ratio >= 0.1 else 5}f} x {name}")


if __name__ == "__main__":
    main()
