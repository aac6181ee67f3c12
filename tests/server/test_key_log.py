"""TLS secrets are written where somebody asked for them, and nowhere else."""

from __future__ import annotations

import asyncio
import shutil
import stat
from pathlib import Path

import pytest
from tests.server.test_proxy import http, origin, port_of

from pointsman.errors import Exit, PointsmanError
from pointsman.server.key_log import prepare_key_log
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, running_proxy

HOST = "www.example.com"


def visit(directory: Path, key_log: Path | None) -> None:
    async def scenario() -> None:
        server = await origin(http, authority.server_context(HOST))
        async with server, running_proxy(directory, key_log=key_log) as proxy:
            proxy.redirect_to(port_of(server))
            address, port = proxy.address
            curl = shutil.which("curl")
            assert curl is not None, "curl is needed"
            process = await asyncio.create_subprocess_exec(
                curl, "-sS", "--cacert", str(proxy.ready.root_pem), "--resolve", f"{HOST}:{port}:{address}",
                f"https://{HOST}:{port}/", stdout=asyncio.subprocess.PIPE, env={},
            )  # fmt: skip
            assert (await process.communicate())[0] == b"hello\n"

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


def test_on_request_both_sides_are_written_and_only_we_can_read_it(tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    visit(tmp_path, log)

    lines = [line.split() for line in log.read_text().splitlines() if not line.startswith("#")]
    randoms = {random for label, random, _ in lines if label == "CLIENT_TRAFFIC_SECRET_0"}
    assert len(randoms) == 2, "of the app's connection and of the origin's"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_environment_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "from-environment.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    visit(tmp_path, None)

    assert not log.exists()


def test_a_file_of_ours_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    log.write_text("# earlier\n")
    log.chmod(0o644)
    prepare_key_log(log)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600 and log.read_text() == "# earlier\n"


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "link", tmp_path / "none" / "keys.log", Path("/dev/null")):
        with pytest.raises(PointsmanError) as caught:
            prepare_key_log(path)
        assert (caught.value.code, caught.value.status) == ("PM456", Exit.BAD_FILE)
    assert not (tmp_path / "elsewhere").exists()
