"""An index behaves like a sorted list."""

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sandbox.index import Index, entry, id_of, stamp_of

stamps = st.integers(min_value=0, max_value=40)


@settings(max_examples=60, deadline=None)
@given(
    start=st.lists(st.tuples(stamps, st.integers(1, 5000)), unique=True, max_size=3000),
    moves=st.lists(st.tuples(st.integers(0, 10**6), stamps), max_size=300),
    probe=stamps,
    cut=st.tuples(st.integers(0, 3500), st.integers(0, 3500)),
)
def test_index_equals_a_sorted_list(
    start: list[tuple[int, int]], moves: list[tuple[int, int]], probe: int, cut: tuple[int, int]
) -> None:
    """After any moves, length, rank and slices equal those of a sorted list."""
    plain = sorted(entry(stamp, id) for stamp, id in start)
    index = Index(plain)
    for place, stamp in moves:
        if plain:
            old = plain[place % len(plain)]
            new = entry(stamp, id_of(old) + 5000)
            plain.remove(old)
            index.remove(old)
            if new not in plain:
                plain.insert(bisect_left(plain, new), new)
                index.add(new)
    assert len(index) == len(plain)
    assert index.rank(entry(probe, 0)) == bisect_left(plain, entry(probe, 0))
    assert index.slice(*cut) == plain[slice(*cut)]


def test_runs_split_and_vanish() -> None:
    """An index stays sorted while thousands of entries are added and removed."""
    index = Index()
    for id in range(6000):
        index.add(entry(id % 7, id))
    assert index.slice(0, 6000) == sorted(entry(id % 7, id) for id in range(6000))
    for id in range(6000):
        index.remove(entry(id % 7, id))
    assert (len(index), index.slice(0, 10)) == (0, [])
    index.add(entry(3, 9))
    assert stamp_of(index.slice(0, 1)[0]) == 3


def test_removing_what_is_not_there() -> None:
    """Removing a record that the index does not have is an error."""
    with pytest.raises(KeyError):
        Index([entry(1, 1)]).remove(entry(1, 2))
