"""A function that an addon set as `stream`: called for each piece of a body, and no more trusted than a hook.

The engine calls it where the bytes pass, on the event loop.  If it fails or blocks, it is reported, and from then on
the body passes as it comes.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.addons.watchdog import Watchdog
from pointsman.engine.messages import Transform


class GuardedTransform:
    def __init__(self, transform: Transform, dog: Watchdog, failed: Callable[[BaseException], None]) -> None:
        self._transform: Transform | None = transform
        self._dog = dog
        self._failed = failed

    def __call__(self, data: bytes) -> bytes:
        if self._transform is None:
            return data
        try:
            try:
                self._dog.begin()
                result = self._transform(data)
                return result if isinstance(result, bytes) else b"".join(result)
            finally:
                self._dog.running = False
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as for a hook: nothing that an addon raises may end the connection
            self._transform = None
            self._failed(error)
            return data
