"""`mitmproxy.exceptions`: those that addons raise or catch."""

from __future__ import annotations

from pointsman.addons.context import CommandError
from pointsman.addons.options import OptionsError


class MitmproxyException(Exception):  # noqa: N818 - its name elsewhere
    """What scripts catch when they mean any of them."""


class AddonHalt(MitmproxyException):
    """Raised in a hook it ends that hook, and is reported like any other exception."""


class FlowReadException(MitmproxyException):
    """Saved flows are not read here."""


class TypeError(MitmproxyException):  # noqa: A001 - its name elsewhere
    """A value that a command or an option does not take."""


__all__ = ["AddonHalt", "CommandError", "FlowReadException", "MitmproxyException", "OptionsError", "TypeError"]
