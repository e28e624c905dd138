"""The commands that look: what a list of models says of each."""

from datetime import UTC, datetime

from lake.release import Release
from transform.commands import moved_in


def released(*versions: int, first: int = 1) -> list[Release]:
    """Return releases that show a table at these versions, newest first; 0: without it."""
    return [
        Release(
            release=number,
            published_at=datetime(2026, 6, 1, tzinfo=UTC),
            kind="sync",
            parent=number - 1 or None,
            tables={"gold.sums": version} if version else {},
            consumed={},
        )
        for number, version in reversed(list(enumerate(versions, first)))
    ]


def test_a_table_moved_in_the_first_release_that_shows_it_as_it_is() -> None:
    """After a rollback, in that; longer ago than anybody looked, before the oldest that was looked at."""
    assert moved_in("gold.sums", released(3, 4, 4)) == "2"
    assert moved_in("gold.sums", released(3, 4, 3)) == "3"
    assert moved_in("gold.sums", released(3, 3)) == "1"
    assert moved_in("gold.sums", released(0, 3, 3)) == "2"
    assert moved_in("gold.sums", released(3, 3, first=8)) == "before 8"
    assert moved_in("gold.sums", released(3, 0)) == ""
    assert moved_in("gold.sums", []) == ""
