"""What a subject was before a hook, so that a hook that fails leaves no half of a change behind.

On the way of every hook, therefore flat tuples and no copy of a body.
"""

from __future__ import annotations

from typing import Any

from pointsman.engine.fields import Headers
from pointsman.engine.messages import ConnectionNotice, HttpFlow, Request, Response, Subject, WebSocketMessage

Snapshot = tuple[Any, ...]


def remember(subject: Subject) -> Snapshot:
    if isinstance(subject, HttpFlow):
        response, messages = subject.response, subject.messages
        return (
            _request(subject.request),
            None if response is None else _response(response),
            subject.killed,
            (messages[-1], _message(messages[-1])) if messages else None,
        )
    if isinstance(subject, ConnectionNotice):
        server = subject.server
        return (subject.ignore, subject.killed, server.address, server.error)
    return (subject.content, subject.killed)


def restore(subject: Subject, before: Snapshot) -> None:
    """With new objects inside, so that a hook that still runs somewhere has no hold on what is sent."""
    if isinstance(subject, HttpFlow):
        request, response, killed, message = before
        subject.request = _request_again(request)
        subject.response = None if response is None else _response_again(response)
        subject.killed = killed
        if message is not None:
            asked_about, fields = message
            if subject.messages and subject.messages[-1] is asked_about:  # else others have come since
                subject.messages[-1] = WebSocketMessage(*fields)
    elif isinstance(subject, ConnectionNotice):
        subject.ignore, subject.killed, subject.server.address, subject.server.error = before
    else:
        subject.content, subject.killed = before


def _request(one: Request) -> Snapshot:
    return (
        one.method, one.scheme, one.authority, one.path, one.http_version, one.headers.frozen(), one.raw_content,
        one.trailers, one.timestamp_start, one.timestamp_end, one.stream, one.server,
    )  # fmt: skip


def _request_again(was: Snapshot) -> Request:
    fields = list(was)
    fields[5] = Headers.thawed(was[5])
    return Request(*fields)


def _response(one: Response) -> Snapshot:
    return (
        one.status_code, one.reason, one.http_version, one.headers.frozen(), one.raw_content, one.trailers,
        one.timestamp_start, one.timestamp_end, one.stream,
    )  # fmt: skip


def _response_again(was: Snapshot) -> Response:
    fields = list(was)
    fields[3] = Headers.thawed(was[3])
    return Response(*fields)


def _message(one: WebSocketMessage) -> Snapshot:
    return (one.from_client, one.is_text, one.content, one.timestamp, one.dropped, one.injected)
