"""Read the credentials that a policy refers to: a variable of the environment, or a file beside the policy.

They are read when they are needed, so a changed password needs no reload; they are never kept, never logged, and no
message here repeats them.
"""

from __future__ import annotations

import os
from pathlib import Path

from pointsman.policy.load_upstreams import parse_secret
from pointsman.policy.upstreams import Credentials, SecretReference
from pointsman.wire.proxy_error import ProxyError

MAX_SIZE = 4096  # bytes of a file with one secret


class Secrets:
    """A `server.upstream_dial.Secrets`."""

    def __init__(self, directory: Path) -> None:
        """Names of files are relative to it."""
        self._directory = directory

    def __call__(self, reference: SecretReference) -> Credentials:
        try:
            return parse_secret(self._text(reference))
        except ValueError as error:
            raise ProxyError(f"no credentials in {reference}: {error}") from None

    def _text(self, reference: SecretReference) -> str:
        if reference.kind == "env":
            value = os.environ.get(reference.name)
            if value is None:
                raise ValueError("the variable is not set")
            return value
        path = self._directory / reference.name
        try:
            if path.exists() and not path.is_file():
                raise ValueError("not a plain file")
            with path.open("rb") as file:
                data = file.read(MAX_SIZE + 1)
        except OSError as error:
            raise ValueError((error.strerror or "cannot be read").lower()) from None
        if len(data) > MAX_SIZE:
            raise ValueError(f"larger than {MAX_SIZE} bytes")
        return data.decode("utf-8-sig")
