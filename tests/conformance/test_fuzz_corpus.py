"""Every seed and everything that the fuzzer has ever found, through the target that found it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_stays_mended(name: str) -> None:
    target, seeds = TARGETS[name]
    for data in (*seeds, *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))):
        target(data)


def test_the_corpus_has_no_folder_that_nobody_reads() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 100_000
