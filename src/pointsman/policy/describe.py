"""Compiled filters for people: what the kernel is told, layer by layer, in the order in which it looks.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from pointsman.wire.abi import RULE_DEFAULT, Verdict
from pointsman.wire.filters import Condition, Field, Filter, Layer, NativeFilter

MAX_VALUES = 4  # of one field in one line
_PROTOCOLS = {6: "tcp", 17: "udp"}
_NAMES = {
    Field.APP_ID: "app",
    Field.USER_ID: "token",
    Field.PROTOCOL: "protocol",
    Field.REMOTE_ADDRESS: "address",
    Field.REMOTE_PORT: "port",
    Field.FLAGS: "no flag of",
}
AppName = Callable[[bytes], str]


def describe_filters(filters: list[Filter], app_name: AppName, line_of: Callable[[int], int]) -> str:
    """`line_of` gives the line of a rule by its id, 0 for none."""
    parts = []
    for layer in sorted(Layer, key=lambda one: -one):
        ordered = sorted((one for one in filters if one.layer is layer), key=lambda one: -one.weight)
        if not ordered:
            continue
        parts.append(f"{layer.name} ({len(ordered)} filters; what none matches goes direct)")
        for one in ordered:
            rule_id = one.context & 0x0FFF_FFFF
            where = "default" if rule_id == RULE_DEFAULT else f"line {line_of(rule_id)}"
            verdict = Verdict(one.context >> 28 & 0xF).name
            parts.append(f"  {verdict:<8} {where:<10} {conditions(one.conditions, app_name)}  ({one.name})")
    return "\n".join(parts)


def describe_native(filters: list[NativeFilter], app_name: AppName) -> str:
    rows = []
    for one in sorted(filters, key=lambda one: (one.layer, -one.weight)):
        verdict = "BLOCK" if one.blocks else "PERMIT"
        rows.append(f"  {verdict:<8} {one.layer.name} {conditions(one.conditions, app_name)} ({one.name})")
    return "\n".join(["persistent, for when no proxy runs (`pointsman policy closed install` installs them)", *rows])


def conditions(listed: tuple[Condition, ...], app_name: AppName) -> str:
    words = []
    for field, run in groupby(listed, key=lambda condition: condition.field):
        values = [value(condition, app_name) for condition in run]
        rest = len(values) - MAX_VALUES
        shown = " or ".join(values[:MAX_VALUES]) + (f" or {rest} more" if rest > 0 else "")
        words.append(f"{_NAMES[field]} {shown}")
    return ", ".join(words) or "everything"


def value(condition: Condition, app_name: AppName) -> str:
    match condition.value:
        case bytes() as data:
            return app_name(data) if condition.field is Field.APP_ID else data[28:].hex()
        case (low, high):
            return f"{low}-{high}"
        case int() as number if condition.field is Field.PROTOCOL:
            return _PROTOCOLS.get(number, str(number))
        case other:
            return str(other)
