"""The origin of the soak, outside the lab: HTTP/1.1 and WebSocket on one port, HTTP/2 on another.

python bench/soak/origin.py CERTIFICATE.pem      prints its two ports as JSON; ends when its standard input does
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

from aiohttp import WSMsgType, web
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

BODY_LIMIT = 64 << 20


async def some_bytes(request: web.Request) -> web.StreamResponse:
    size = min(int(request.match_info["size"]), BODY_LIMIT)
    if size <= 1 << 16:
        return web.Response(body=bytes(size))
    response = web.StreamResponse(headers={"Content-Length": str(size)})
    await response.prepare(request)
    piece = bytes(1 << 16)
    while size:
        await response.write(piece[:size])
        size -= min(size, len(piece))
    return response


async def chunks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for number in range(20):
        await response.write(b"piece %d\n" % number)
    return response


async def length(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    left: dict[int, bytes] = {}
    try:
        writer.write(connection.data_to_send())
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    connection.send_headers(event.stream_id, [(":status", "200")])
                elif isinstance(event, StreamEnded):
                    left[event.stream_id] = bytes(10_000)
                elif isinstance(event, StreamReset):
                    left.pop(event.stream_id, None)
            for stream in list(left):
                window = connection.local_flow_control_window(stream)
                while left[stream] and window:
                    size = min(window, connection.max_outbound_frame_size, len(left[stream]))
                    left[stream] = left[stream][size:]
                    connection.send_data(stream, bytes(size), end_stream=not left[stream])
                    window -= size
                if not left[stream]:
                    del left[stream]
            writer.write(connection.data_to_send())
            await writer.drain()
    except (ConnectionError, ssl.SSLError, ProtocolError):
        pass  # clients that vanish are part of the load
    finally:
        writer.close()


async def main() -> None:
    contexts = [ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for _ in range(2)]
    for context, protocol in zip(contexts, ("http/1.1", "h2"), strict=True):
        context.load_cert_chain(sys.argv[1])
        context.set_alpn_protocols([protocol])
    pages = web.Application(client_max_size=BODY_LIMIT)
    pages.add_routes([web.get("/bytes/{size}", some_bytes), web.get("/chunks", chunks)])
    pages.add_routes([web.post("/length", length), web.get("/ws", echo)])
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=contexts[0])
    await site.start()
    second = await asyncio.start_server(http2, "127.0.0.1", 0, ssl=contexts[1])
    print(json.dumps([runner.addresses[0][1], second.sockets[0].getsockname()[1]]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
