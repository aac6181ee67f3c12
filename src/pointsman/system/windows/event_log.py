"""Windows' event logs, read: entries as values.  Which are asked for, and what they mean, `doctor` decides."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from xml.etree import ElementTree

from pointsman.system.host import MAX_LOG_EVENTS, LogEvent
from pointsman.system.windows import _wevtapi as api
from pointsman.system.windows._library import DWORD, HANDLE, Win32Error, code_text

WAIT_MS = 5000
MAX_XML = 256 << 10  # bytes of one entry; a longer one is left out
NAMESPACE = "{http://schemas.microsoft.com/win/2004/08/events/event}"


def read(channel: str, query: str) -> list[LogEvent]:
    """Newest first, MAX_LOG_EVENTS at most.  Raises OSError: the log cannot be read."""
    try:
        results = api.EvtQuery(None, channel, query, api.EVT_QUERY_CHANNEL_PATH | api.EVT_QUERY_REVERSE_DIRECTION)
        try:
            found = (decode(xml) for xml in _rendered(results))
            return [event for event in found if event is not None]
        finally:
            _close(results)
    except Win32Error as error:
        raise OSError(error.code, f"{error.call}: Windows error {code_text(error.code)}") from error


def _rendered(results: int) -> Iterator[str]:
    for _ in range(MAX_LOG_EVENTS):
        event, count = HANDLE(), DWORD()
        try:
            api.EvtNext(results, 1, ctypes.byref(event), WAIT_MS, 0, ctypes.byref(count))
        except Win32Error as error:
            if error.code == api.ERROR_NO_MORE_ITEMS:
                return
            raise
        try:
            yield _xml(event)
        finally:
            _close(event.value)


def _xml(event: HANDLE) -> str:
    room = 8 << 10
    while True:
        buffer, used, properties = ctypes.create_string_buffer(room), DWORD(), DWORD()
        try:
            api.EvtRender(
                None, event, api.EVT_RENDER_EVENT_XML, room, buffer, ctypes.byref(used), ctypes.byref(properties)
            )
        except Win32Error as error:
            if error.code != api.ERROR_INSUFFICIENT_BUFFER or not room < used.value <= MAX_XML:
                if error.code == api.ERROR_INSUFFICIENT_BUFFER:
                    return ""
                raise
            room = used.value
            continue
        return buffer.raw[: used.value].decode("utf-16-le", "replace").rstrip("\0")


def decode(xml: str) -> LogEvent | None:
    """One <Event>; None for what is none, or cannot be read."""
    try:
        root = ElementTree.fromstring(xml)  # of this machine's own log service, with its escaping
        number = int(root.findtext(f"{NAMESPACE}System/{NAMESPACE}EventID", ""))
    except (ElementTree.ParseError, ValueError):
        return None
    created = root.find(f"{NAMESPACE}System/{NAMESPACE}TimeCreated")
    data = [part for part in root if part.tag in (f"{NAMESPACE}EventData", f"{NAMESPACE}UserData")]
    texts = (text.strip() for part in data for text in part.itertext())
    return LogEvent(
        number, "" if created is None else created.get("SystemTime", "")[:19] + "Z", " ".join(filter(None, texts))
    )


def _close(handle: int | None) -> None:
    with contextlib.suppress(Win32Error):  # the handle goes with the process at the latest
        api.EvtClose(handle)
