"""What `--map` and `--resolve` understand, and what the lab's name server answers."""

from __future__ import annotations

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import Exit, PointsmanError
from pointsman.lab.dns import DnsServer, answer
from pointsman.lab.machine import PlacementName
from pointsman.lab.network import Network
from tests.fetch import FETCH

from .world import ORIGIN, ORIGIN_V6, open_lab, origin

RESOLVE = "import socket,sys;print(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80)}))"


def test_a_port_of_its_own_goes_before_every_port() -> None:
    network = Network.parse(["203.0.113.1:*=127.0.0.1:1", "203.0.113.1:443=127.0.0.1:2", "[2001:db8::1]:443=[::1]:3"])

    assert network.lead((ip_address("203.0.113.1"), 80)) == (ip_address("127.0.0.1"), 1)
    assert network.lead((ip_address("203.0.113.1"), 443)) == (ip_address("127.0.0.1"), 2)
    assert network.lead((ip_address("::ffff:203.0.113.1"), 443)) == (ip_address("127.0.0.1"), 2)
    assert network.lead((ip_address("2001:db8::1"), 443)) == (ip_address("::1"), 3)
    assert network.lead((ip_address("203.0.113.2"), 443)) == (ip_address("203.0.113.2"), 443)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "1.2.3.4=1.2.3.4:5", "1.2.3.4:0=1.2.3.4:5", "1.2.3.4:5=1.2.3.4:*", "1.2.3.4:65536=1.2.3.4:5",
        "::1:5=[::1]:5", "[1.2.3.4]:5=1.2.3.4:5", "name:5=1.2.3.4:5", "1.2.3.4:5=[::1]:5", "1.2.3.4:\u0663=1.2.3.4:5",
    ],
)  # fmt: skip
def test_a_map_that_makes_no_sense_is_said_to(text: str) -> None:
    with pytest.raises(PointsmanError) as error:
        Network.parse(maps=[text])

    assert (error.value.code, error.value.status) == ("PM503", Exit.USAGE)


@pytest.mark.parametrize("text", ["", "x", "x=", "=1.2.3.4", "a b=1.2.3.4", "x=1.2.3", "-x=1.2.3.4"])
def test_a_name_that_makes_no_sense_is_said_to(text: str) -> None:
    with pytest.raises(PointsmanError, match="PM503"):
        Network.parse(names=[text])


@given(st.text(max_size=40))
def test_any_text_is_a_map_or_an_error_for_people(text: str) -> None:
    for arguments in ({"maps": [text]}, {"names": [text]}):
        try:
            Network.parse(**arguments)
        except PointsmanError as error:
            assert error.code == "PM503"


def test_a_given_name_has_its_addresses_and_no_other_records() -> None:
    names = Network.parse(
        names=["Example.com.=203.0.113.1", "example.com=203.0.113.2", "example.com=2001:db8::1"]
    ).names

    def ask(kind: str) -> list[str]:
        reply = answer(dns.message.make_query("eXample.com", kind).to_wire(), names)
        assert reply is not None
        message = dns.message.from_wire(reply)
        assert message.rcode() == dns.rcode.NOERROR
        return sorted(str(item) for rrset in message.answer for item in rrset)

    assert (ask("A"), ask("AAAA")) == (["203.0.113.1", "203.0.113.2"], ["2001:db8::1"])
    assert (ask("HTTPS"), ask("TXT")) == ([], [])
    assert answer(dns.message.make_query("example.org", "A").to_wire(), names) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("question", [b"", b"\0" * 11, b"\xff" * 40])
async def test_junk_gets_an_error_or_silence(question: bytes) -> None:
    reply = await DnsServer({}, []).ask(question, stream=False)

    assert reply is None or reply[3] & 15 == dns.rcode.FORMERR


@pytest.mark.asyncio
async def test_a_name_that_nobody_can_resolve_is_a_server_failure() -> None:
    query = dns.message.make_query("example.org", "A")
    reply = await DnsServer({}, []).ask(query.to_wire(), stream=False)

    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.SERVFAIL
    assert dns.message.from_wire(reply).id == query.id


@pytest.mark.asyncio
async def test_programs_resolve_given_names_and_reach_them(placement: PlacementName) -> None:
    names = [f"example.test={ORIGIN}", f"example.test={ORIGIN_V6}", f"four.test={ORIGIN}"]
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"], names) as lab:
        resolved = await lab.python(RESOLVE, "example.test")
        fetched = await lab.run(*FETCH, "http://four.test/")

        assert resolved.out == f"{sorted([ORIGIN, ORIGIN_V6])}\n", resolved.err
        assert fetched.out == "origin", fetched.err


@pytest.mark.asyncio
async def test_names_are_answered_over_tcp_too(placement: PlacementName) -> None:
    script = """
import socket, struct
query = b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\4four\\4test\\0\\0\\1\\0\\1"
for host in ("192.0.2.53", "2001:db8::53"):
    s = socket.create_connection((host, 53), 20)
    s.sendall(struct.pack("!H", len(query)) + query)
    print(socket.inet_ntoa(s.recv(512)[-4:]))
    s.close()
"""
    async with open_lab(placement, (), [f"four.test={ORIGIN}"]) as lab:
        done = await lab.python(script)

        assert done.out == f"{ORIGIN}\n{ORIGIN}\n", done.err
