"""Options of `pointsman run` that bound what it takes on."""

from __future__ import annotations

import click
import pytest

from pointsman.cli.run import LIMIT_NAMES, MAX_WORKERS, limits_of
from pointsman.server.limits import Limits
from pointsman.wire.abi import MAX_REGISTRATIONS

from .test_messages import pointsman


def test_limits_are_named_and_in_seconds_where_they_are_times() -> None:
    assert limits_of(()) == Limits()
    given = ("connections=10", "connections-per-app=3", "idle=1.5", "life=3600", "dial=2", "drain=0.5", "bytes=1000")
    assert limits_of(given) == Limits(10, 3, 1.5, 2, 3600, 1000, 0.5)
    assert len(given) == len(LIMIT_NAMES)


@pytest.mark.parametrize(
    "option", ["connections=0", "connections=1.5", "idle=-1", "idle=nan", "speed=1", "idle", "life="]
)
def test_a_limit_that_makes_no_sense_is_refused_with_what_is_allowed(option: str) -> None:
    with pytest.raises(click.BadParameter, match="allowed: NAME=NUMBER, more than 0; names: connections, "):
        limits_of((option,))


def test_more_workers_than_the_driver_can_know_are_refused_before_anything_starts() -> None:
    result = pointsman("run", "--workers", "3")
    assert result.returncode == 2
    assert "at most 2" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_proxies_with_all_their_workers_fit_into_the_driver_once_old_stand_bys_are_dropped() -> None:
    assert 1 + 1 + MAX_WORKERS["driver"] <= MAX_REGISTRATIONS
