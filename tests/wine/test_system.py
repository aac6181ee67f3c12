"""`WindowsSystem` as a whole: the product's registration on it, app ids of real files, and a Winsock without WFP."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest

from pointsman.system.windows.service_manager import DriverService
from pointsman.wire.abi import RULE_DEFAULT, Endpoints
from pointsman.wire.redirect_context import decode_redirect_context

from .machine import ROOT, Machine, RemoteError

pytestmark = pytest.mark.timeout(900)
Refused = Callable[..., RemoteError]
ENDPOINTS = Endpoints((IPv4Address("127.0.0.1"), 18080), (IPv6Address("::1"), 18081))
ELSEWHERE = (IPv4Address("203.0.113.7"), 443)
PROGRAM = r"C:\windows\system32\notepad.exe"
POLICY = """
default = "inspect"

[[rule]]
name = "this program goes direct"
app = 'C:\\windows\\system32\\notepad.exe'
action = "direct"

[[rule]]
name = "nobody goes there"
net = "198.51.100.0/24"
action = "block"
"""


def test_a_policy_of_the_product_steers_the_real_driver(machine: Machine, driver: DriverService) -> None:
    proxy, app = machine.process(), machine.operator
    number = proxy.call("open_registration", POLICY, ENDPOINTS)
    notepad = app.call("app_id", PROGRAM)

    inspected = machine.dial(app.pid, ELSEWHERE, app.call("app_id", r"C:\windows\explorer.exe"))
    direct = machine.dial(app.pid, ELSEWHERE, notepad)
    blocked = machine.dial(app.pid, (IPv4Address("198.51.100.9"), 80), "\\x\0".encode("utf-16-le"))

    assert (inspected.redirected, direct.redirected, blocked.redirected) == (True, False, False)
    assert (inspected.blocked, direct.blocked, blocked.blocked) == (False, False, True)
    context = decode_redirect_context(inspected.context)
    assert (context.registration, context.rule_id) == (number, RULE_DEFAULT)
    assert context.original_destination == ELSEWHERE
    assert app.call("image_path", context.app_id) == r"c:\windows\explorer.exe"
    assert proxy.call("renew_registration") == (number, 0)
    machine.hang_up(inspected.flow)


def test_a_proxy_registers_again_after_the_driver_has_forgotten_it(machine: Machine, driver: DriverService) -> None:
    proxy, app = machine.process(), machine.operator
    number = proxy.call("open_registration", POLICY, ENDPOINTS)
    proxy.call("withdraw_registration")

    again, refused = proxy.call("renew_registration")

    assert (again, refused) == (number + 1, 1)
    dialled = machine.dial(app.pid, ELSEWHERE, "\\x\0".encode("utf-16-le"))
    assert decode_redirect_context(dialled.context).registration == again
    machine.hang_up(dialled.flow)


def test_every_module_of_the_product_imports_on_windows(machine: Machine) -> None:
    source = ROOT / "src"
    linux_only = ("lab", "demo")
    names = [
        ".".join(path.relative_to(source).with_suffix("").parts)
        for path in sorted((source / "pointsman").rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py") and path.relative_to(source).parts[1] not in linux_only
    ]

    failed = machine.operator.call("import_everything", names)
    assert not failed, "\n".join(failed.values())
    assert len(names) > 60


def test_app_ids_are_lower_case_device_paths_with_their_nul(machine: Machine) -> None:
    call = machine.operator.call
    there = call("app_id", r"C:\WINDOWS\system32\NOTEPAD.EXE").decode("utf-16-le")
    missing = call("app_id", r"C:\No Such Folder\ÄPP.exe").decode("utf-16-le")

    assert there.startswith("\\device\\harddiskvolume") and there.endswith("\\windows\\system32\\notepad.exe\0")
    device = there.removesuffix("\\windows\\system32\\notepad.exe\0")
    assert len(call("app_id", "C:\\\u0130.exe")) == 2 * len(device + "\\\u0130.exe\0")  # one code unit stays one
    assert missing == device + "\\no such folder\\äpp.exe\0"
    assert call("app_id", r"\\Server\Share\a.exe").decode("utf-16-le") == "\\device\\mup\\server\\share\\a.exe\0"
    assert call("app_id", "C:/windows/system32/notepad.exe").decode("utf-16-le") == there


def test_image_path_is_the_inverse(machine: Machine) -> None:
    call = machine.operator.call
    for path in (r"c:\windows\system32\notepad.exe", r"c:\not\there.exe", r"\\server\share\a.exe"):
        assert call("image_path", call("app_id", path)) == path
        assert call("image_path", call("app_id", path)[:-2]) == path
    elsewhere = "\\device\\cdrom7\\a.exe"
    assert call("image_path", elsewhere.encode("utf-16-le")) == elsewhere


@pytest.mark.parametrize("path", ["a.exe", r"Q:\a.exe", "C:a.exe", r"\\?\nowhere"])
def test_a_path_that_names_nothing_is_told(machine: Machine, refused: Refused, path: str) -> None:
    error = refused(machine.operator, "app_id", path)

    assert (error.name, error.facts["code"]) == ("PointsmanError", "PM207")


def test_a_connection_that_nobody_redirected_has_no_context(machine: Machine) -> None:
    # Wine has no WFP in its Winsock: WSAEOPNOTSUPP, which is one of the answers for "nobody redirected it".
    assert machine.operator.call("redirect_facts") == (None, b"", 1)
