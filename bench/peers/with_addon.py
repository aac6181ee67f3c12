"""The same addon in Pointsman and in mitmproxy: what changing a header of every message costs."""

from lib.peer import Path
from peers.mitm import Mitmproxy11
from pointsman_bench_pointsman import BEFORE, Pointsman

ADDON = Path(__file__).resolve().parents[1] / "addons/two_headers.py"


class PointsmanIntercept(Pointsman):
    """Everything is rebuilt, nobody listens."""

    name = "pointsman-intercept"
    modes = ("mitm",)
    depth = "intercept"


class PointsmanAddon(PointsmanIntercept):
    name = "pointsman-addon"
    options = ("--addon", str(ADDON))


class PointsmanBusy(PointsmanIntercept):
    """Nearly all of the machine's work is the proxy's: what workers bring shows on two cores, too."""

    name = "pointsman-busy"
    options = ("--addon", str(ADDON.with_name("busy.py")))


class PointsmanBusyTwoWorkers(PointsmanBusy):
    name = "pointsman-busy-2-workers"
    options = (*PointsmanBusy.options, "--workers", "2")


class Mitmproxy11Addon(Mitmproxy11):
    name = "mitmproxy11-addon"
    modes = ("mitm",)

    def command(self, mode):
        return [*super().command(mode), "--scripts", ADDON]


if BEFORE:

    class PointsmanAddonBefore(PointsmanAddon):
        name = "pointsman-addon-before"
        program = BEFORE
