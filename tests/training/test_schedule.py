"""Learning rates over a run."""

import itertools
from types import SimpleNamespace

import pytest

from obverse.training.schedule import warm_up_stay_fall


def test_it_warms_up_stays_and_falls():
    recipe = SimpleNamespace(steps=1000, warmup=10, decay=0.5, lr=1.0)
    rates = [warm_up_stay_fall(recipe, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[499] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[500:])) and rates[-1] < 0.01


def test_a_longer_run_shares_its_beginning():
    short, long = (SimpleNamespace(steps=n, warmup=10, decay=0.5, lr=2.0) for n in (100, 1000))
    assert [warm_up_stay_fall(short, s) for s in range(50)] == [warm_up_stay_fall(long, s) for s in range(50)]
