"""A flow as plain values, for scripts that write flows down: dictionaries under the names that mitmproxy's have.

`bytes` stay bytes, header fields are pairs of bytes, times are seconds since 1970, UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman.engine.flow_facts import ClientFacts, ConnectionFacts, ServerFacts
from pointsman.engine.request import Request
from pointsman.engine.response import Response
from pointsman.engine.websocket_flow import WebSocketData

if TYPE_CHECKING:
    from pointsman.engine.messages import HttpFlow, TcpMessage

State = dict[str, Any]


def http_state(flow: HttpFlow) -> State:
    socket, response, error = flow.websocket, flow.response, flow.error
    return {
        "type": "http", "id": flow.id,
        "error": None if error is None else {"msg": str(error), "timestamp": error.timestamp},
        "client_conn": client_state(flow.client_conn), "server_conn": server_state(flow.server_conn),
        "intercepted": False, "is_replay": flow.is_replay, "marked": flow.marked, "metadata": dict(flow.metadata),
        "comment": flow.comment, "timestamp_created": flow.timestamp_created,
        "request": request_state(flow.request),
        "response": None if response is None else response_state(response),
        "websocket": None if socket is None else websocket_state(socket),
        "backup": None,
    }  # fmt: skip


def tcp_state(flow: TcpMessage) -> State:
    return {
        "type": "tcp", "id": flow.id, "error": flow.error,
        "client_conn": client_state(flow.client_conn), "server_conn": server_state(flow.server_conn),
        "metadata": dict(flow.metadata), "timestamp_created": flow.timestamp,
        "messages": [(one.from_client, one.content, one.timestamp) for one in flow.messages],
    }  # fmt: skip


def client_state(client: ClientFacts) -> State:
    return {**_state(client), "address": client.peername, "peername": client.peername, "sockname": client.sockname}


def server_state(server: ServerFacts) -> State:
    return {
        **_state(server), "address": server.address, "peername": server.peername, "ip_address": server.ip_address,
        "source_address": server.source_address, "timestamp_tcp_setup": server.timestamp_tcp_setup, "via": server.via,
    }  # fmt: skip


def request_state(request: Request) -> State:
    return {
        **_message_state(request), "host": request.host, "port": request.port, "method": _raw(request.method),
        "scheme": _raw(request.scheme), "authority": _raw(request.authority), "path": _raw(request.path),
    }  # fmt: skip


def response_state(response: Response) -> State:
    return {**_message_state(response), "status_code": response.status_code, "reason": _raw(response.reason)}


def websocket_state(socket: WebSocketData) -> State:
    return {
        "messages": [
            (one.type, one.from_client, one.content, one.timestamp, one.dropped, one.injected)
            for one in socket.messages
        ],
        "closed_by_client": socket.closed_by_client, "close_code": socket.close_code,
        "close_reason": socket.close_reason, "timestamp_end": socket.timestamp_end,
    }  # fmt: skip


def _message_state(message: Request | Response) -> State:
    return {
        "http_version": _raw(message.http_version), "headers": tuple(message.headers.fields),
        "content": message.raw_content,
        "trailers": None if message.trailers is None else tuple(message.trailers.fields),
        "timestamp_start": message.timestamp_start, "timestamp_end": message.timestamp_end,
    }  # fmt: skip


def _state(conn: ConnectionFacts) -> State:
    return {
        "id": conn.id, "tls": conn.tls, "tls_established": conn.tls_established, "tls_version": conn.tls_version,
        "cipher": conn.cipher, "sni": conn.sni, "alpn": conn.alpn, "alpn_offers": list(conn.alpn_offers),
        "error": conn.error, "timestamp_start": conn.timestamp_start, "timestamp_end": conn.timestamp_end,
        "timestamp_tls_setup": conn.timestamp_tls_setup,
    }  # fmt: skip


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
