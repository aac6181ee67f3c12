"""The short language of the built-in addons: `/filter/subject/replacement`, the first character being the separator.

The filter may be left out with its separator; the last part may hold separators.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pointsman.addons.flowfilter import Filter, parse
from pointsman.addons.options import OptionsError

EVERYTHING = "~all"


@dataclass(frozen=True, slots=True)
class Spec:
    filter: Filter
    subject: str
    replacement: str


def parse_specs(option: str, texts: Sequence[str], *, heads_only: bool = False) -> list[Spec]:
    """`heads_only`: a filter that needs bodies is an error.  Raises OptionsError."""
    return [_parse(option, text, heads_only=heads_only) for text in texts]


def filtered(option: str, text: str) -> tuple[Filter, str]:
    """`/filter/value`, or `/value` for everything.  Raises OptionsError."""
    parts = text[1:].split(text[:1], 1) if text else []
    if not parts or not text[1:]:
        raise OptionsError(f"{option}: {text!r} is not /FILTER/VALUE")
    expression, value = parts if len(parts) == 2 else (EVERYTHING, parts[0])
    return _filter(option, text, expression, heads_only=True), value


def regex(option: str, text: str) -> re.Pattern[str]:
    """Raises OptionsError."""
    try:
        return re.compile(text)
    except re.error as error:
        raise OptionsError(f"{option}: no regular expression: {text!r}: {error}") from error


def checked(option: str, text: str, read: Callable[[str], float], unit: str) -> float:
    """A positive number.  Raises OptionsError."""
    try:
        value = read(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise OptionsError(f"{option}: {text!r} is no number of {unit} above 0")
    return value


def _parse(option: str, text: str, *, heads_only: bool) -> Spec:
    parts = text[1:].split(text[:1], 2) if text else []
    if len(parts) == 2:
        parts = [EVERYTHING, *parts]
    if len(parts) != 3 or not parts[1]:
        raise OptionsError(f"{option}: {text!r} is not /FILTER/SUBJECT/REPLACEMENT")
    return Spec(_filter(option, text, parts[0], heads_only=heads_only), parts[1], parts[2])


def _filter(option: str, text: str, expression: str, *, heads_only: bool) -> Filter:
    try:
        found = parse(expression or EVERYTHING)
    except ValueError as error:
        raise OptionsError(f"{option}: {error}") from error
    if heads_only and found.needs_body:
        raise OptionsError(f"{option}: {text!r} asks for the body, which {option} does not wait for")
    return found
