from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.server.upstream_tls import UpstreamContexts


def test_the_origin_is_always_verified() -> None:
    for alpn in ((), ("http/1.1",)):
        context = UpstreamContexts()(alpn)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_file_without_roots_is_an_error_for_people(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "roots.pem").write_bytes(content)

    with pytest.raises(PointsmanError) as caught:
        UpstreamContexts([tmp_path / "roots.pem"])
    assert (caught.value.code, caught.value.status) == ("PM452", Exit.BAD_FILE)
