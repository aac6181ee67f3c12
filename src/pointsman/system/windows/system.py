"""Windows as a `System`: the one object of this package that the rest of the proxy gets."""

from __future__ import annotations

from pointsman.system.windows import app_id as windows_app_id
from pointsman.system.windows.driver import WindowsDriver
from pointsman.system.windows.filter_engine import WindowsFilterEngine
from pointsman.system.windows.persistent_filters import WindowsPersistentFilters
from pointsman.system.windows.pipe_channel import PipeChannel
from pointsman.system.windows.processes import WindowsProcesses
from pointsman.system.windows.redirect_context import WindowsRedirects


class WindowsSystem:
    """Implements `interface.System`."""

    def __init__(self) -> None:
        self.redirects = WindowsRedirects()
        self.processes = WindowsProcesses()
        self.persistent_filters = WindowsPersistentFilters()
        self.control = PipeChannel()

    def open_driver(self) -> WindowsDriver:
        return WindowsDriver()

    def open_filter_engine(self) -> WindowsFilterEngine:
        return WindowsFilterEngine()

    def app_id(self, path: str) -> bytes:
        return windows_app_id.app_id(path)

    def image_path(self, app_id: bytes) -> str:
        return windows_app_id.image_path(app_id)

    def close(self) -> None:
        """Nothing is open."""
