"""Contexts: a place where much went on is told apart, alike with all symbols and group by group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.plug_and_play.activity import MOST_CONTEXTS, Contexts, grow
from obverse.errors import InputError


def busy_and_calm(seed: int = 0, shape: tuple[int, int, int] = (3, 6, 500)) -> np.ndarray:
    """Symbols (A, G, B) of which those of a place are all small, or all of any size."""
    rng = np.random.default_rng(seed)
    scale = np.where(rng.random((shape[0], 1, shape[2])) < 0.5, 0.3, 6.0)
    return np.rint(rng.normal(0, 1, shape) * scale).astype(np.int32)


@given(st.integers(0, 10_000), st.integers(1, MOST_CONTEXTS), st.integers(-3, 3))
@settings(max_examples=30, deadline=None)
def test_group_by_group_gives_the_contexts_of_the_whole(seed, count, usual):
    symbols = busy_and_calm(seed, (2, 4, 30))
    contexts = Contexts.of(symbols, np.full(4, usual, np.int32), count)
    assert contexts.groups == 4 and contexts.count == count
    whole = contexts.index(symbols)
    activity = np.zeros((2, 30), np.int32)
    for group in range(4):
        found = contexts.of_group(group, activity).reshape(2, 30)
        np.testing.assert_array_equal(found, whole[:, group])
        grow(activity, symbols[:, group], usual)
    assert whole.max() < count


def test_the_first_group_has_seen_nothing():
    symbols = busy_and_calm()
    index = Contexts.of(symbols, np.zeros(6, np.int32), 4).index(symbols)
    assert len(np.unique(index[:, 0])) == 1


def test_busy_places_get_high_contexts():
    symbols = busy_and_calm()
    index = Contexts.of(symbols, np.zeros(6, np.int32), 4).index(symbols)
    busy = np.abs(symbols).sum(1) > 8
    assert index[:, -1][busy].mean() > index[:, -1][~busy].mean() + 1


def test_what_a_symbol_adds_and_how_it_fades():
    activity = np.zeros(8, np.int32)
    grow(activity, np.int32([5, 6, 7, 8, 11, 4, 3, -(2**30)]), 5)
    assert activity.tolist() == [0, 128, 128, 256, 256, 128, 128, 30 * 128]
    grow(activity, np.full(8, 5, np.int32), 5)
    assert activity[1] == 120 and activity[0] == 0


def test_far_symbols_stay_within_bounds():
    activity = np.zeros(1, np.int32)
    for _ in range(500):
        grow(activity, np.int32([2**31 - 1]), -(2**30))
    assert 0 < activity[0] < 1 << 17


@pytest.mark.parametrize(
    ("usual", "thresholds"),
    [
        (np.zeros(2, np.int64), np.zeros((2, 3), np.int32)),
        (np.zeros(2, np.int32), np.zeros((3, 3), np.int32)),
        (np.zeros(2, np.int32), np.int32([[1, 2], [2, 1]])),
        (np.zeros(2, np.int32), np.int32([[1, 2], [2, 1 << 21]])),
        (np.zeros(2, np.int32), np.int32([[-1, 2], [2, 3]])),
        (np.int32([0, 2**30 + 1]), np.zeros((2, 3), np.int32)),
        (np.zeros(0, np.int32), np.zeros((0, 3), np.int32)),
        (np.zeros(2, np.int32), np.zeros((2, MOST_CONTEXTS), np.int32)),
    ],
)
def test_what_are_no_contexts_is_refused(usual, thresholds):
    with pytest.raises(InputError, match="contexts have a usual symbol"):
        Contexts(usual, thresholds)
