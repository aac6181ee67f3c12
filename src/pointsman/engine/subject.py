"""A flow as the policy asks about it: what is known before it has said a word, and after the peek."""

from __future__ import annotations

from dataclasses import replace

from pointsman.engine.flow_record import Flow
from pointsman.engine.peek import Peeked
from pointsman.policy.match import Connection
from pointsman.policy.rules import Detected, Protocol


def subject_of(flow: Flow, peeked: Peeked | None) -> Connection:
    """None: nobody has looked yet."""
    address, port = flow.original_destination
    whole = Connection(flow.app, Protocol.TCP, address, port)
    if flow.process is not None:
        process = flow.process
        whole = replace(whole, ancestors=process.ancestors, users=process.users, services=process.services)
    if peeked is None:
        return whole
    if peeked.head is not None:
        method, path = peeked.head.method, peeked.head.path
        return replace(whole, host=peeked.host, detected=Detected.HTTP, method=method, path=path)
    if peeked.hello is not None:  # what is asked inside of it is seen only after decrypting
        return replace(whole, host=peeked.host, detected=Detected.TLS)
    return replace(whole, host=None, detected=None, method=None, path=None)
