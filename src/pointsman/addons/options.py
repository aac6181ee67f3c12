"""Options that addons declare and people set with `--set name=value`.

They decide what a text means as a value of the declared type; what the value is good for is the addon's business.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

DUMPER_FILTER = "dumper_filter"
_FIXED: tuple[tuple[str, Any, Any, str], ...] = (
    ("mode", Sequence[str], ["transparent"], "the kernel leads connections here"),
    ("connection_strategy", str, "eager", "the certificate and protocol of the origin are what the app gets"),
    ("upstream_cert", bool, True, "the app's certificate mirrors the origin's"),
    ("ssl_insecure", bool, False, "origins are verified; --upstream-ca adds a root"),
    ("http2", bool, True, "the app and the origin agree on it"),
    ("http3", bool, False, "QUIC does not pass through the proxy"),
    ("websocket", bool, True, "WebSockets are read if somebody listens"),
    ("rawtcp", bool, True, "what is no HTTP is a stream"),
    ("anticache", bool, False, "use flow.request.anticache() in an addon"),
    ("anticomp", bool, False, "use flow.request.anticomp() in an addon"),
    ("showhost", bool, False, "use pretty_url"),
    ("stream_large_bodies", str | None, "16m", "a longer body is streamed"),
    ("ignore_hosts", Sequence[str], [], "write rules of a policy"),
    ("allow_hosts", Sequence[str], [], "write rules of a policy"),
    ("tcp_hosts", Sequence[str], [], "write rules of a policy"),
)


class OptionsError(Exception):
    """A value that an option does not take.  Addons raise it from `configure`."""


@dataclass(slots=True)
class Option:
    name: str
    typespec: Any
    default: Any
    help: str
    choices: tuple[str, ...] | None
    value: Any
    is_fixed: bool = False
    """It says how things are here, and cannot be set."""


class Options:
    """Read as attributes: `ctx.options.name`."""

    def __init__(self) -> None:
        self._options: dict[str, Option] = {}

    def add_option(
        self, name: str, typespec: Any, default: Any, help: str = "", choices: Sequence[str] | None = None,  # noqa: A002 - the name that addons use
    ) -> None:  # fmt: skip
        """Declared again (an addon was loaded anew) it keeps its value, unless its type is another one.

        Raises OptionsError if the default is none of that type.
        """
        if default is not None and not _fits(default, typespec):
            raise OptionsError(f"the default of option {name} is no {_described(typespec)}: {default!r}")
        known = self._options.get(name)
        value = known.value if known and known.typespec == typespec and known.value != known.default else default
        if known and known.is_fixed:
            value = default  # the addon's own, of the same name
        self._options[name] = Option(name, typespec, default, help, tuple(choices) if choices else None, value)

    def add_fixed(self, name: str, typespec: Any, value: Any, help: str) -> None:  # noqa: A002 - as above
        self._options[name] = Option(name, typespec, value, help, None, value, is_fixed=True)

    def declared(self) -> set[str]:
        """By addons."""
        return {name for name, option in self._options.items() if not option.is_fixed and name != DUMPER_FILTER}

    def set_text(self, name: str, texts: Sequence[str | None]) -> None:
        """All `--set` of one name; None where no `=` was given.  Raises OptionsError."""
        option = self._options.get(name)
        if option is None:
            raise OptionsError(f"no addon declares an option {name!r}")
        value = parsed(option, texts)
        _check_fixed(option, value)
        option.value = value

    def update(self, **values: Any) -> None:
        """Raises OptionsError, and sets nothing then."""
        for name, value in values.items():
            option = self._options.get(name)
            if option is None:
                raise OptionsError(f"no addon declares an option {name!r}")
            if not _fits(value, option.typespec):
                raise OptionsError(f"option {name} is a {_described(option.typespec)}, not {value!r}")
            _check_fixed(option, value)
        for name, value in values.items():
            self._options[name].value = value

    def keys(self) -> set[str]:
        return set(self._options)

    def __contains__(self, name: object) -> bool:
        return name in self._options

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_options"][name].value
        except KeyError:
            raise AttributeError(f"no addon declares an option {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.update(**{name: value})


class Loader:
    """What `load` is given: the place to declare things."""

    def __init__(self, options: Options, add_command: Callable[[str, Callable[..., Any]], None]) -> None:
        self._options = options
        self.add_command = add_command

    def add_option(
        self, name: str, typespec: Any, default: Any, help: str = "", choices: Sequence[str] | None = None,  # noqa: A002 - the name that addons use
    ) -> None:  # fmt: skip
        self._options.add_option(name, typespec, default, help, choices)


def add_fixed(options: Options) -> None:
    """Options of mitmproxy that scripts read, with what holds here."""
    for name, typespec, value, meaning in _FIXED:
        options.add_fixed(name, typespec, value, meaning)
    options.add_option(DUMPER_FILTER, str | None, None, "for addons that dump: a filter expression")


def _check_fixed(option: Option, value: Any) -> None:
    if option.is_fixed and value != option.value:
        raise OptionsError(f"option {option.name} cannot be set here: {option.help}")


def parsed(option: Option, texts: Sequence[str | None]) -> Any:
    """Raises OptionsError."""
    kinds = _kinds(option.typespec)
    if _is_sequence(option.typespec):
        return [text for text in texts if text is not None]
    text = texts[-1]
    value = _scalar(option.name, kinds, text)
    if option.choices and value not in option.choices:
        raise OptionsError(f"option {option.name} is one of {', '.join(option.choices)}, not {text!r}")
    return value


def _scalar(name: str, kinds: tuple[Any, ...], text: str | None) -> Any:
    if bool in kinds:
        known = {None: True, "true": True, "false": False}
        if text not in known:
            raise OptionsError(f"option {name} is true or false, not {text!r}")
        return known[text]
    if text is None:
        if type(None) in kinds:
            return None
        raise OptionsError(f"option {name} needs a value: --set {name}=...")
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise OptionsError(f"option {name} is a number, not {text!r}") from None
    return text


def _kinds(typespec: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(typespec) in (typing.Union, types.UnionType)
    return tuple(typing.get_args(typespec)) if is_union else (typespec,)


def _is_sequence(typespec: Any) -> bool:
    origin = typing.get_origin(typespec) or typespec
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def _fits(value: Any, typespec: Any) -> bool:
    if _is_sequence(typespec):
        return isinstance(value, Sequence) and not isinstance(value, str)
    kinds = _kinds(typespec)
    if isinstance(value, bool):
        return bool in kinds
    # An int will do for a float.
    return any(isinstance(kind, type) and isinstance(value, (kind, int) if kind is float else kind) for kind in kinds)


def _described(typespec: Any) -> str:
    return str(getattr(typespec, "__name__", typespec))
