"""Numbers as a person reads them."""

import pytest

from labelwise.report.formats import (
    DASH,
    Spread,
    count,
    decimal,
    duration,
    interval,
    percent,
    points,
    short,
    short_spread,
    shorten,
)
from labelwise.results import Stat


@pytest.mark.parametrize("write", [decimal, short, percent, points, interval, count, duration, Spread(percent)])
def test_what_is_not_known_is_a_dash(write):
    assert write(None) == DASH


def test_points_have_a_sign_and_are_never_minus_zero():
    assert [points(value) for value in (0.0421, -0.01, -0.0001, 0.0)] == ["+4.2", "−1.0", "0.0", "0.0"]
    assert points(0.0001, 2) == "+0.01" and interval((-0.01, 0.02)) == "−1.0 to +2.0"


def test_counts_times_and_numbers():
    assert count(12345) == "12,345" and percent(0.1234) == "12.3" and percent(0.12345, 2) == "12.35"
    assert [duration(seconds) for seconds in (1.25, 99.0, 120.0, 7200.0)] == ["1.2 s", "99.0 s", "2.0 min", "2.0 h"]
    assert short(0.1234) == "0.123" and short(12.34) == "12.3"


def test_mean_and_deviation():
    assert Spread(percent)(Stat(mean=0.5, std=0.01)) == "50.0 ± 1.0"
    assert Spread(percent)(Stat(mean=0.5, std=None)) == "50.0"
    assert Spread(percent, alone=True)(Stat(mean=0.5, std=0.01)) == "50.0"
    assert short_spread(Stat(mean=87.25, std=3.456)) == "87.2 ± 3.5" and short_spread(None) == DASH


def test_wide_letters_take_two_columns():
    assert shorten("猫" * 10, 7) == "猫猫猫…" and shorten("name", 4) == "name"
