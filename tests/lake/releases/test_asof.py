"""As of: a number, a tag or a time names one release, and any other text gets a one-line message."""

from datetime import UTC, datetime, timedelta

import pytest

from lake.errors import NoRelease, UsageError
from lake.paths import Lake
from lake.releases.asof import end_of_day, parse_time, pick, refuse_unretained, resolve
from lake.releases.release import find_release
from lake.releases.tags import read_tags, remove_tag, tags_of, write_tag
from lake.settings import LakeSettings
from tests.support.release_history import ENGINE, NOON, publish_ids

SECOND = timedelta(seconds=1)


@pytest.fixture
def dated(lake: Lake) -> Lake:
    """A lake with releases just before and after midnight in Kyiv, and one on the day the clocks change."""
    for stamp in ("2026-06-01T20:59:59Z", "2026-06-01T21:00:00Z", "2026-10-25T21:59:59Z"):
        publish_ids(lake, 1, at=datetime.fromisoformat(stamp))
    return lake


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        (" 2 ", 2),
        ("2026-06-01T20:59:59Z", 1),
        ("2026-06-01T23:59:59+03:00", 1),
        ("2026-06-01 21:00+00:00", 2),
        ("2026-06-01T20:59:59.999999Z", 1),
        ("2026-06-01", 1),
        ("2026-06-02", 2),
        ("2026-10-24", 2),
        ("2026-10-25", 3),
        ("9999-12-30", 3),
    ],
)
def test_a_number_or_a_time_names_a_release(dated: Lake, text: str, number: int) -> None:
    """A time names the newest release by then; a day ends at midnight in Kyiv, even if it has 25 hours."""
    assert resolve(dated, text).release == number


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("2026-06-01T12:00", UsageError, "a time needs its zone: 2026-06-01T12:00Z"),
        (
            "2026-05-31",
            NoRelease,
            "nothing was published by 2026-05-31; the first release is of 2026",
        ),
        ("2026-06-01T20:59:58Z", NoRelease, "nothing was published by"),
        ("4", NoRelease, "release 4 was never published, the newest is 3"),
        ("0", NoRelease, "release 0 was never published"),
        ("2026-W23", UsageError, "2026-W23: write a day as 2026-06-01"),
        ("march", UsageError, "'march' names no release: .* no release is tagged"),
        ("2026-02-30", UsageError, "names no release"),
        ("0001-01-01T00:00+14:00", UsageError, "names no release"),
        ("", UsageError, "names no release"),
        ("²", UsageError, "names no release"),
    ],
)
def test_a_text_that_names_no_release_is_refused(
    dated: Lake, text: str, error: type[Exception], message: str
) -> None:
    """The one-line message lists the ways to name a release."""
    with pytest.raises(error, match=message) as refused:
        resolve(dated, text)
    assert "\n" not in str(refused.value)


def test_an_empty_lake_has_a_message_of_its_own(lake: Lake) -> None:
    """If nothing is published, any text gets the same message."""
    for text in ("1", "2026-06-01"):
        with pytest.raises(NoRelease, match="nothing is published yet"):
            resolve(lake, text)


def test_a_clock_that_went_back_does_not_hide_the_newest(lake: Lake) -> None:
    """A time names the release with the greatest number among those published by then."""
    publish_ids(lake, 1, at=NOON)
    publish_ids(lake, 2, at=NOON - timedelta(hours=1))
    assert resolve(lake, "2026-06-01T11:30Z").release == 2
    assert resolve(lake, "2026-06-01T12:00Z").release == 2


def test_days_end_at_midnight_in_kyiv() -> None:
    """A day ends at 21:00 UTC in summer and at 22:00 in winter, also on the day the clocks change."""
    ends = {"2026-06-01": "06-01 21:00", "2026-10-25": "10-25 22:00", "2026-03-29": "03-29 21:00"}
    for day, end in ends.items():
        midnight = end_of_day(datetime.fromisoformat(day).date()) + timedelta(microseconds=1)
        assert f"{midnight:%m-%d %H:%M}" == end
    assert parse_time("9999-12-31") is None
    assert parse_time("fine") is None


def test_a_tag_names_a_release_until_it_is_moved_or_removed(dated: Lake) -> None:
    """The newest row of a name counts, and no row is rewritten."""
    first, second = find_release(dated, 1), find_release(dated, 2)
    assert write_tag(dated, first, "Березень", now=NOON) is None
    assert write_tag(dated, first, "audit-1.2", now=NOON) is None
    assert tags_of(dated) == {1: ["audit-1.2", "Березень"]}
    assert resolve(dated, "Березень") == first
    assert write_tag(dated, second, "Березень", now=NOON + SECOND) == 1
    assert write_tag(dated, second, "Березень", now=NOON + 2 * SECOND) == 2
    assert resolve(dated, "Березень") == second
    assert remove_tag(dated, "Березень", now=NOON + 3 * SECOND) == 2
    assert read_tags(dated) == {"audit-1.2": 1}
    with pytest.raises(UsageError, match=r"the tags are audit-1\.2"):
        resolve(dated, "Березень")
    with pytest.raises(UsageError, match=r"'Березень' is no tag; the tags are audit-1\.2"):
        remove_tag(dated, "Березень", now=NOON)


@pytest.mark.parametrize(
    "name", ["12", "2026-06", "2026-06-01", "", "-x", "a b", "a/b", "x" * 65, "_a", "a\n"]
)
def test_a_name_that_could_be_a_number_or_a_time_is_no_tag(dated: Lake, name: str) -> None:
    """A refused name writes no row."""
    with pytest.raises(UsageError, match="is no tag"):
        write_tag(dated, find_release(dated, 1), name, now=NOON)
    assert read_tags(dated) == {}


def test_options_name_one_release_or_the_newest(dated: Lake) -> None:
    """A command that gets both options is refused."""
    assert pick(dated).release == 3
    assert pick(dated, release=1).release == 1
    assert pick(dated, as_of="2026-06-02").release == 2
    with pytest.raises(UsageError, match="give one of them"):
        pick(dated, release=1, as_of="1")


def test_an_old_release_is_refused_unless_it_is_retained(lake: Lake) -> None:
    """The newest release, its parent, longer retention settings, and a tag retain an old release."""
    old = publish_ids(lake, 1, at=datetime(2026, 1, 1, tzinfo=UTC))
    refuse_unretained(lake, old, now=NOON, settings=ENGINE)
    publish_ids(lake, 2, at=NOON)
    refuse_unretained(lake, old, now=NOON, settings=ENGINE)
    publish_ids(lake, 3, at=NOON)
    with pytest.raises(NoRelease, match="release 1 is of 2026-01-01"):
        refuse_unretained(lake, old, now=NOON, settings=ENGINE)
    refuse_unretained(lake, old, now=NOON, settings=LakeSettings(keep_days=160, keep_all_hours=160 * 24))
    write_tag(lake, old, "year", now=NOON)
    refuse_unretained(lake, old, now=NOON, settings=ENGINE)
