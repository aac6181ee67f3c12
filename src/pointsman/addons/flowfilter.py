"""Filter expressions, as mitmproxy users write them: `~m POST & ~d example\\.com & !~c 200`.

    ~all ~http ~tcp ~websocket       the kind of flow           ~q ~s ~e   no response yet, a response, an error
    ~u ~d ~m ~dst                    URL, host, method, address ~c N       status code
    ~h ~hq ~hs, ~t ~tq ~ts, ~b ~bq ~bs   headers ("name: value"), content type, body: both, request, response
    ~a  asset   ~marked ~marker ~comment ~meta   ~app   program  (ours alone)
    ! & | ( )   not, and, or; two expressions side by side mean and; a bare word is ~u; quotes around blanks

Regular expressions are Python's, found anywhere, regardless of case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pointsman.engine.messages import ConnectionNotice, HttpFlow, Request, Response, Subject, TcpMessage

Test = Callable[[Subject], bool]
Sides = Literal["both", "request", "response"]
DEPTH_LIMIT = 100  # parentheses and nots inside each other
_TOKEN = re.compile(r"""\s*(?:([()&|!])|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([^\s()|&!"'][^\s()]*))""")
_ASSETS = re.compile(r"text/css|javascript|image/|font/|application/font|application/x-shockwave-flash", re.IGNORECASE)


@dataclass(frozen=True)
class Filter:
    """`flowfilter.match` and calling it mean the same."""

    pattern: str
    test: Test = field(repr=False)
    needs_body: bool = False
    """It cannot be answered before the body is here."""

    def __call__(self, subject: Subject) -> bool:
        return self.test(subject)


def parse(expression: str) -> Filter:
    """An empty one lets everything through.  Raises ValueError for what is no filter."""
    reader = _Reader(expression if expression.strip() else "~all")
    test = reader.whole()
    return Filter(expression, test, reader.needs_body)


def match(filter_: Filter | str | None, subject: Subject) -> bool:
    """No filter lets everything through.  Raises ValueError for a text that is none."""
    if not filter_:
        return True
    return (parse(filter_) if isinstance(filter_, str) else filter_).test(subject)


class _Reader:
    """any = all { "|" all }; all = one { ["&"] one }; one = "!" one | "(" any ")" | operator"""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(_tokens(expression))
        self._at = 0
        self._depth = 0
        self.needs_body = False

    def whole(self) -> Test:
        test = self._any()
        if self._at < len(self._tokens):
            raise self._error("what follows is no part of it")
        return test

    def _any(self) -> Test:
        tests = [self._all()]
        while self._next() == "|":
            self._at += 1
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda subject: any(test(subject) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._next() not in (None, "|", ")"):
            if self._next() == "&":
                self._at += 1
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda subject: all(test(subject) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise self._error("too deep")
        try:
            token = self._take()
            if token == "!":  # noqa: S105 - a token of the expression, no secret
                inner = self._one()
                return lambda subject: not inner(subject)
            if token == "(":  # noqa: S105
                inner = self._any()
                if self._take() != ")":
                    raise self._error("a parenthesis is not closed")
                return inner
            if token in ("&", "|", ")"):
                raise self._error(f"{token!r} out of place")
            return self._operator(token)
        finally:
            self._depth -= 1

    def _operator(self, token: str) -> Test:
        if not token.startswith("~"):
            return _URL(self._regex(_unquoted(token)))
        if token in _PLAIN:
            return _PLAIN[token]
        if token == "~c":  # noqa: S105
            code = _unquoted(self._take())
            if not code.isdigit():
                raise self._error(f"~c wants a number, not {code!r}")
            status = int(code)
            return lambda subject: _response(subject) is not None and _status(subject) == status
        if token not in _BY_REGEX:
            raise self._error(f"there is no operator {token}")
        self.needs_body |= token in ("~b", "~bq", "~bs")
        return _BY_REGEX[token](self._regex(_unquoted(self._take())))

    def _regex(self, text: str) -> re.Pattern[str]:
        try:
            return re.compile(text, re.IGNORECASE | re.MULTILINE | re.DOTALL)
        except re.error as error:
            raise self._error(f"no regular expression: {text!r}: {error}") from error

    def _next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self) -> str:
        token = self._next()
        if token is None:
            raise self._error("it ends too early")
        self._at += 1
        return token

    def _error(self, why: str) -> ValueError:
        return ValueError(f"not a filter expression: {self._expression!r}: {why}")


def _tokens(expression: str) -> Iterator[str]:
    at = 0
    expression = expression.rstrip()
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None:
            raise ValueError(f"not a filter expression: {expression!r}: at {expression[at:]!r}")
        at = found.end()
        yield found[1] or found[2] or found[3]


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token


def _request(subject: Subject) -> Request | None:
    return subject.request if isinstance(subject, HttpFlow) else None


def _response(subject: Subject) -> Response | None:
    return subject.response if isinstance(subject, HttpFlow) else None


def _status(subject: Subject) -> int | None:
    response = _response(subject)
    return response.status_code if response else None


def _sides(subject: Subject, sides: Sides) -> Iterator[Request | Response]:
    request, response = _request(subject), _response(subject)
    if request is not None and sides != "response":
        yield request
    if response is not None and sides != "request":
        yield response


def _is_asset(subject: Subject) -> bool:
    response = _response(subject)
    return response is not None and bool(_ASSETS.search(response.headers.get("content-type", "")))


def _on_request(read: Callable[[Request], str]) -> Callable[[re.Pattern[str]], Test]:
    def make(regex: re.Pattern[str]) -> Test:
        def test(subject: Subject) -> bool:
            request = _request(subject)
            return request is not None and bool(regex.search(read(request)))

        return test

    return make


def _on_messages(sides: Sides, read: Callable[[Request | Response], str]) -> Callable[[re.Pattern[str]], Test]:
    return lambda regex: lambda subject: any(regex.search(read(one)) for one in _sides(subject, sides))


def _on_body(sides: Sides) -> Callable[[re.Pattern[str]], Test]:
    from_client = {"both": (True, False), "request": (True,), "response": (False,)}[sides]

    def make(regex: re.Pattern[str]) -> Test:
        def test(subject: Subject) -> bool:
            if isinstance(subject, TcpMessage):
                return subject.from_client in from_client and bool(regex.search(_as_text(subject.content)))
            if any(regex.search(one.get_text(strict=False) or "") for one in _sides(subject, sides)):
                return True
            messages = subject.messages if isinstance(subject, HttpFlow) else []
            return any(one.from_client in from_client and regex.search(_as_text(one.content)) for one in messages)

        return test

    return make


def _on_subject(read: Callable[[Subject], str]) -> Callable[[re.Pattern[str]], Test]:
    return lambda regex: lambda subject: bool(regex.search(read(subject)))


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _head(one: Request | Response) -> str:
    return _as_text(bytes(one.headers)).replace("\r\n", "\n")


def _type(one: Request | Response) -> str:
    return one.headers.get("content-type", "")


def _of_http(read: Callable[[HttpFlow], str]) -> Callable[[Subject], str]:
    return lambda subject: read(subject) if isinstance(subject, HttpFlow) else ""


def _host(subject: Subject) -> str:
    if isinstance(subject, HttpFlow):
        return f"{subject.request.pretty_host}\n{subject.request.host}"
    return subject.host or "" if isinstance(subject, ConnectionNotice) else ""


def _destination(subject: Subject) -> str:
    address, port = subject.flow.original_destination
    return f"{address}:{port}"


_PLAIN: dict[str, Test] = {
    "~all": lambda _: True,
    "~http": lambda subject: isinstance(subject, HttpFlow),
    "~tcp": lambda subject: isinstance(subject, TcpMessage),
    "~udp": lambda _: False,
    "~dns": lambda _: False,
    "~websocket": lambda subject: isinstance(subject, HttpFlow) and subject.websocket is not None,
    "~q": lambda subject: isinstance(subject, HttpFlow) and subject.response is None,
    "~s": lambda subject: _response(subject) is not None,
    "~e": lambda subject: isinstance(subject, HttpFlow) and subject.error is not None,
    "~a": _is_asset,
    "~marked": lambda subject: isinstance(subject, HttpFlow) and bool(subject.marked),
    "~replay": lambda subject: isinstance(subject, HttpFlow) and subject.is_replay is not None,
}
_URL = _on_request(lambda request: f"{request.pretty_url}\n{request.url}")
_BY_REGEX: dict[str, Callable[[re.Pattern[str]], Test]] = {
    "~u": _URL,
    "~d": _on_subject(_host),
    "~m": _on_request(lambda request: request.method),
    "~dst": _on_subject(_destination),
    "~app": _on_subject(lambda subject: subject.flow.app or ""),
    "~h": _on_messages("both", _head),
    "~hq": _on_messages("request", _head),
    "~hs": _on_messages("response", _head),
    "~t": _on_messages("both", _type),
    "~tq": _on_messages("request", _type),
    "~ts": _on_messages("response", _type),
    "~b": _on_body("both"),
    "~bq": _on_body("request"),
    "~bs": _on_body("response"),
    "~marker": _on_subject(_of_http(lambda flow: flow.marked)),
    "~comment": _on_subject(_of_http(lambda flow: flow.comment)),
    "~meta": _on_subject(_of_http(lambda flow: "\n".join(f"{key}: {value}" for key, value in flow.extra.items()))),
}
