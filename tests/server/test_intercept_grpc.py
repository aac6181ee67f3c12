"""gRPC through an intercepted HTTP/2 connection, by grpcio at both ends: unary, and streaming both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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


def credentials() -> Any:
    key = authority.key("grpc")
    leaf = issue_leaf(authority.root(), [HOST], key.public_key(), now=datetime.now(UTC), serial=7)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return grpc.ssl_server_credentials([(private, leaf.public_bytes(serialization.Encoding.PEM))])


async def talk(proxy: Intercepting, port: int, seen: str) -> None:
    proxy.redirect_to(port)
    roots = grpc.ssl_channel_credentials(proxy.root_pem.read_bytes())
    options = [("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST)]
    target = f"127.0.0.1:{proxy.address[1]}"
    async with grpc.aio.secure_channel(target, roots, options=options) as channel:
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
        server = grpc.aio.server()
        handlers = {
            "Shout": grpc.unary_unary_rpc_method_handler(shout),
            "Converse": grpc.stream_stream_rpc_method_handler(converse),
            "Fail": grpc.unary_unary_rpc_method_handler(fail),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", handlers)])
        port = server.add_secure_port("127.0.0.1:0", credentials())
        await server.start()
        async with intercepting(tmp_path, hooks) as proxy:
            await talk(proxy, port, "up" if listened else "no")
            records = [(one.protocol, one.path, one.status, one.error) for one in proxy.records]
            assert records == [("h2", f"/test.Test/{name}", 200, None) for name in ("Shout", "Converse", "Fail")]
        await server.stop(None)

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))
