"""What the filters look like; that they mean what the rules mean is test_law.py."""

from __future__ import annotations

import struct
from itertools import groupby
from random import Random

import pytest

from pointsman.policy.compile import compile_policy
from pointsman.policy.load import parse_policy
from pointsman.policy.security import encode_sid, is_sid, match_descriptor, service_sid
from pointsman.policy.sight import Sight
from pointsman.system import fwpm
from pointsman.wire.abi import RULE_DEFAULT, Verdict
from pointsman.wire.filters import Condition, Field, Filter, Layer

from . import generator
from .driver import app_id

REGISTRATION = 7
SIGHT = Sight(app_id)


def test_filters_are_such_as_wfp_accepts() -> None:
    random = Random(11)
    for _ in range(300):
        policy = generator.policy(random)
        filters = compile_policy(policy, REGISTRATION, Sight(app_id, generator.running(random)))
        assert len(filters) <= 4 * (len(policy.rules) + 2), "filters grow with the rules, never with their product"
        for layer in Layer:
            weights = [one.weight for one in filters if one.layer is layer]
            assert len(weights) == len(set(weights)), "a tie is decided by chance"
            assert all(0 < weight < 2**64 for weight in weights)
        for one in filters:
            fields = [condition.field for condition in one.conditions]
            assert len([run for run, _ in groupby(fields)]) == len(set(fields)), "one field in two places"
            assert len(one.conditions) == len(set(one.conditions))
            assert one.context >> 32 == REGISTRATION


def compiled(text: str) -> list[tuple[Layer, Verdict, int]]:
    filters = compile_policy(parse_policy(text.encode(), "p.toml"), REGISTRATION, SIGHT)
    return [(one.layer, Verdict(one.context >> 28 & 0xF), one.context & 0x0FFF_FFFF) for one in filters]


REDIRECT_V4, REDIRECT_V6 = Layer.CONNECT_REDIRECT_V4, Layer.CONNECT_REDIRECT_V6
AUTH_V4, AUTH_V6 = Layer.AUTH_CONNECT_V4, Layer.AUTH_CONNECT_V6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('default = "direct"', []),
        (
            'default = "inspect"',
            [(REDIRECT_V4, Verdict.REDIRECT, RULE_DEFAULT), (REDIRECT_V6, Verdict.REDIRECT, RULE_DEFAULT)],
        ),
        (
            'default = "direct"\n[[rule]]\nnet = "2001:db8::/32"\naction = "block"',
            [(REDIRECT_V6, Verdict.PASS, 0), (AUTH_V6, Verdict.BLOCK, 0)],
        ),
        (
            (
                'default = "direct"\n[[rule]]\nport = 1\naction = "relay"\n'
                '[[rule]]\nnet = "192.0.2.1"\nprotocol = "udp"\naction = "block"\n'
                '[[rule]]\nport = 2\naction = "direct"'
            ),
            [
                (REDIRECT_V4, Verdict.REDIRECT, 0), (REDIRECT_V6, Verdict.REDIRECT, 0),
                (AUTH_V4, Verdict.PASS, 0), (AUTH_V6, Verdict.PASS, 0),
                (AUTH_V4, Verdict.BLOCK, 1), (AUTH_V6, Verdict.BLOCK, 1),
                (REDIRECT_V4, Verdict.PASS, 2), (REDIRECT_V6, Verdict.PASS, 2),
            ],
        ),
    ],
)  # fmt: skip
def test_no_filter_is_made_that_changes_nothing(text: str, expected: list[tuple[Layer, Verdict, int]]) -> None:
    assert sorted(compiled(text)) == sorted(expected)


def filters_of(rule: str, sight: Sight) -> list[Filter]:
    return compile_policy(parse_policy(f'default = "direct"\n[[rule]]\n{rule}'.encode(), "p.toml"), REGISTRATION, sight)


def test_a_name_becomes_the_programs_that_run_under_it_and_the_rest_is_sealed() -> None:
    sight = Sight(app_id, running=frozenset({"/opt/v1/curl", "/usr/bin/curl", "/usr/bin/wget"}))
    named, sealed, rest = [
        one for one in filters_of('app = "curl"\naction = "inspect"', sight) if one.layer is Layer.CONNECT_REDIRECT_V4
    ]

    def apps(one: Filter) -> set[object]:
        return {condition.value for condition in one.conditions if condition.field is Field.APP_ID}

    assert apps(named) == {app_id("/opt/v1/curl"), app_id("/usr/bin/curl")}
    assert apps(sealed) == {*apps(named), app_id("/usr/bin/wget")}
    assert apps(rest) == set()
    assert [one.context >> 28 & 0xF for one in (named, sealed, rest)] == [
        Verdict.REDIRECT, Verdict.PASS, Verdict.REDIRECT,
    ]  # fmt: skip


def test_a_kernel_that_sees_tokens_is_asked_about_them() -> None:
    windows = Sight(app_id, sid_of=lambda name: "S-1-5-21-1-2-3-1001" if name == "alice" else None)
    for rule, sids in (
        ('service = "TrustedInstaller"', [service_sid("trustedinstaller")]),
        ('user = "Alice"', ["S-1-5-21-1-2-3-1001"]),
        ('user = ["s-1-5-18", "alice"]', ["S-1-5-18", "S-1-5-21-1-2-3-1001"]),
    ):
        (one, _) = [
            one for one in filters_of(f'{rule}\naction = "block"', windows) if one.layer.name.startswith("AUTH")
        ]
        assert one.conditions[0] == Condition(Field.USER_ID, match_descriptor(sids))
        assert one.context >> 28 & 0xF == Verdict.BLOCK
        built = fwpm.build_filter(one)
        condition = fwpm.FWPM_FILTER_CONDITION0.from_address(built.filter.filterCondition)
        assert condition.conditionValue.type == fwpm.FWP_SECURITY_DESCRIPTOR_TYPE
        assert condition.matchType == fwpm.FWP_MATCH_EQUAL


@pytest.mark.parametrize(
    "sight", [SIGHT, Sight(app_id, sid_of=lambda _: None)], ids=["no tokens", "nobody of that name"]
)
def test_a_user_that_the_kernel_cannot_ask_for_is_the_business_of_the_proxy(sight: Sight) -> None:
    filters = filters_of('user = "alice"\naction = "block"', sight)

    assert {one.context >> 28 & 0xF for one in filters} == {Verdict.REDIRECT}
    assert {condition.field for one in filters for condition in one.conditions} == {Field.PROTOCOL}


def test_sids_and_descriptors_are_those_of_windows() -> None:
    # TrustedInstaller's, as every Windows has it ("Well-known SIDs", Windows documentation).
    trusted_installer = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    assert service_sid("TrustedInstaller") == trusted_installer
    assert encode_sid("S-1-5-18") == bytes([1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0])
    assert not is_sid("S-1-") and not is_sid("alice") and not is_sid("S-1-5-99999999999")

    descriptor = match_descriptor(["S-1-5-18", trusted_installer])
    revision, _, control, owner, group, sacl, dacl = struct.unpack_from("<BBHIIII", descriptor)
    assert (revision, control, owner, group, sacl, dacl) == (1, 0x8004, 0, 0, 0, 20)
    acl_revision, _, size, count, _ = struct.unpack_from("<BBHHH", descriptor, dacl)
    assert (acl_revision, size, count) == (2, len(descriptor) - 20, 2)
    kind, flags, ace_size, mask = struct.unpack_from("<BBHI", descriptor, dacl + 8)
    assert (kind, flags, ace_size, mask) == (0, 0, 8 + 12, 1)
    assert descriptor[dacl + 16 : dacl + 28] == encode_sid("S-1-5-18")


def test_a_list_of_networks_that_is_too_long_for_the_kernel_is_the_business_of_the_proxy() -> None:
    lines = "\n".join(f"198.{n >> 8 & 255}.{n & 255}.1" for n in range(9000))
    text = 'default = "direct"\n[[rule]]\nnet = "file:l"\naction = "block"'
    policy = parse_policy(text.encode(), "p.toml", lambda _: lines.encode())

    filters = compile_policy(policy, REGISTRATION, SIGHT)

    assert {one.context >> 28 & 0xF for one in filters} == {Verdict.REDIRECT}
    assert sum(len(one.conditions) for one in filters) < 10
