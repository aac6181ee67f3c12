"""A flow as the policy asks about it: what is known before it has said a word, and after the peek."""

from __future__ import annotations

from pointsman.engine.flow_record import Flow
from pointsman.engine.peek import Peeked
from pointsman.policy.match import UNKNOWN, Connection, Unknown
from pointsman.policy.rules import Detected, Protocol


def subject_of(flow: Flow, peeked: Peeked | None) -> Connection:
    """None: nobody has looked yet."""
    host: str | Unknown | None = UNKNOWN
    detected: Detected | Unknown | None = UNKNOWN
    method: str | Unknown | None = UNKNOWN
    path: str | Unknown | None = UNKNOWN
    if peeked is not None and peeked.head is not None:
        host, detected, method, path = peeked.host, Detected.HTTP, peeked.head.method, peeked.head.path
    elif peeked is not None and peeked.hello is not None:  # what is asked inside of it is seen only after decrypting
        host, detected = peeked.host, Detected.TLS
    elif peeked is not None:
        host = method = path = None
        detected = Detected.HTTP if peeked.is_http2 else None
    address, port = flow.original_destination
    process = flow.process
    if process is None:
        return Connection(flow.app, Protocol.TCP, address, port, host, detected, method, path)
    facts = (process.ancestors, process.users, process.services)
    return Connection(flow.app, Protocol.TCP, address, port, host, detected, method, path, *facts)
