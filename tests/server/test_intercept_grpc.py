"""gRPC through an intercepted HTTP/2 connection, by grpcio at both ends: unary, and streaming both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.server.intercepting import Intercepting, Marking, intercepting

from pointsman.authority.issue import issue_leaf
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE

grpc = pytest.importorskip("grpc", reason="grpcio is in the dev group, for Linux")
HOST = "www.example.com"


async def shout(request: bytes, context: Any) -> bytes:
    seen = dict(context.invocation_metadata()).get("x-seen", "no")
    context.set_trailing_metadata((("x-origin-saw", seen),))
    return request.upper()


async def converse(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.upper()


async def fail(request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    return b""


async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield number.to_bytes(4, "big") * 250


async def metadata(request: bytes, context: Any) -> bytes:
    got = dict(context.invocation_metadata())
    await context.send_initial_metadata((("x-initial-bin", got["x-some-bin"]), ("x-long", got["x-long"])))
    context.set_trailing_metadata((("x-trailing-bin", bytes(range(256))),))
    return request


async def wait(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    await asyncio.Event().wait()


HANDLERS = {
    "Shout": grpc.unary_unary_rpc_method_handler(shout),
    "Converse": grpc.stream_stream_rpc_method_handler(converse),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
}


def credentials() -> Any:
    key = authority.key("grpc")
    leaf = issue_leaf(authority.root(), [HOST], key.public_key(), now=datetime.now(UTC), serial=7)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return grpc.ssl_server_credentials([(private, leaf.public_bytes(serialization.Encoding.PEM))])


def channel_to(proxy: Intercepting, *options: tuple[str, object]) -> Any:
    roots = grpc.ssl_channel_credentials(proxy.root_pem.read_bytes())
    names = [("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST)]
    return grpc.aio.secure_channel(f"127.0.0.1:{proxy.address[1]}", roots, options=[*names, *options])


@asynccontextmanager
async def served(proxy: Intercepting) -> AsyncIterator[None]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", HANDLERS)])
    proxy.redirect_to(server.add_secure_port("127.0.0.1:0", credentials()))
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def talk(proxy: Intercepting, seen: str) -> None:
    async with channel_to(proxy) as channel:
        call = channel.unary_unary("/test.Test/Shout")(b"hello" * 10_000)
        assert await call == b"HELLO" * 10_000
        assert dict(await call.trailing_metadata())["x-origin-saw"] == seen
        stream = channel.stream_stream("/test.Test/Converse")()
        for text in (b"one", b"two", b"three"):
            await stream.write(text)
            assert await stream.read() == text.upper(), "before the next one is sent"
        await stream.done_writing()
        assert await stream.read() == grpc.aio.EOF
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Test/Fail")(b"")
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("listened", [False, True])
def test_grpc_calls_pass_message_by_message(tmp_path: Path, listened: bool) -> None:
    hooks = Marking(hooks=("requestheaders", "request", "responseheaders", "response")) if listened else None

    async def scenario() -> None:
        async with intercepting(tmp_path, hooks) as proxy, served(proxy):
            await talk(proxy, "up" if listened else "no")
            records = [(one.protocol, one.path, one.status, one.error) for one in proxy.records]
            assert records == [("h2", f"/test.Test/{name}", 200, None) for name in ("Shout", "Converse", "Fail")]

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


async def much(proxy: Intercepting, lookahead: int) -> None:
    async with channel_to(proxy, ("grpc.http2.lookahead_bytes", lookahead)) as channel:
        shouted = channel.unary_unary("/test.Test/Shout")
        large = b"x" * 3_000_000
        assert await shouted(large) == large.upper()
        answers = await asyncio.gather(*(shouted(b"call %d" % number) for number in range(300)))
        assert answers == [b"CALL %d" % number for number in range(300)]
        counted = [part async for part in channel.unary_stream("/test.Test/Count")(b"2000")]
        assert [int.from_bytes(part[:4], "big") for part in counted] == list(range(2000))
        call = channel.unary_unary("/test.Test/Metadata")(
            b"", metadata=(("x-some-bin", bytes(range(256))), ("x-long", "l" * 5000))
        )
        assert await call == b""
        initial = dict(await call.initial_metadata())
        assert (initial["x-initial-bin"], initial["x-long"]) == (bytes(range(256)), "l" * 5000)
        assert dict(await call.trailing_metadata())["x-trailing-bin"] == bytes(range(256))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            async for part in channel.unary_stream("/test.Test/Wait")(b"begun", timeout=0.5):
                assert part == b"begun"
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = channel.unary_stream("/test.Test/Wait")(b"begun")
        assert await waiting.read() == b"begun"
        assert waiting.cancel()
        assert await shouted(b"still here") == b"STILL HERE"


@pytest.mark.parametrize("policy", ["inspect", "intercept"])
@pytest.mark.parametrize("lookahead", [1024, 65535])
def test_large_messages_many_calls_binary_metadata_and_what_is_given_up(
    tmp_path: Path, policy: str, lookahead: int
) -> None:
    async def scenario() -> None:
        async with intercepting(tmp_path, policy=f'default = "{policy}"') as proxy, served(proxy):
            await much(proxy, lookahead)
        errors = {one.path: one.error for one in proxy.records if one.error is not None}
        assert set(errors) == {"/test.Test/Wait"}
        assert all(error is not None and "app" in error for error in errors.values())

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))
