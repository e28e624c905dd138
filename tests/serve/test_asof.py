"""Each endpoint takes ``as_of`` and answers as it did when that release served."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from lake.paths import Lake
from lake.releases.release import find_release
from lake.releases.tags import write_tag
from tests.serve.client import ask
from tests.serve.shop import Tables, add, make_tables, publish_gold, record_run
from tests.support.running import environ_of, server

# Just before and just after midnight in Kyiv, and days later.
TIMES = ("2026-03-31T20:59:59+00:00", "2026-03-31T21:00:00+00:00", "2026-04-05T09:00:00+00:00")
PATHS = (
    "/api/tables",
    "/api/tables/revenue_daily",
    "/api/tables/revenue_daily?sales_type=retail&order=-revenue&limit=7",
    "/api/summary",
    "/api/summary?from=2026-03-01&to=2026-03-31",
    "/api/revenue/daily?sales_type=retail",
    "/api/products/top?by=quantity",
    "/api/sources",
)


class Past(NamedTuple):
    """A running server over three releases: its URL, its lake, the rows of each release by number."""

    base: str
    lake: Lake
    tables: dict[int, Tables]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Serve a lake with one release at each of ``TIMES``; the first has the tag ``audit``."""
    lake = Lake(root=str(tmp_path_factory.mktemp("past") / "lake"), durable=False)
    tables: dict[int, Tables] = {}
    for number, stamp in enumerate(TIMES, 1):
        tables[number] = make_tables(seed=number, days=40)
        at = datetime.fromisoformat(stamp)
        record_run(lake, at=at, verdict="complete" if number > 1 else "incomplete")
        publish_gold(lake, tables[number], at=at)
    write_tag(lake, find_release(lake, 1), "audit", now=datetime.now(UTC))
    with server(environ_of(lake)) as base:
        yield Past(base, lake, tables)


def joined(path: str, query: str) -> str:
    """Return the path with one more parameter."""
    return f"{path}{'&' if '?' in path else '?'}{query}"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("audit", 1),
        ("2026-03-31", 1),
        ("2026-03-31T20:59:59Z", 1),
        ("2026-04-01", 2),
        ("2026-04-01T00:00%2B03:00", 2),
        ("2026-04-01T00:00+03:00", 2),
        ("2026-04-05", 3),
        ("2031-01-01", 3),
        ("3", 3),
    ],
)
def test_a_number_tag_or_time_names_a_release(past: Past, text: str, number: int) -> None:
    """A day ends at midnight in Kyiv, and a plus sign that was not percent-encoded is read as a plus."""
    reply = ask(past.base, f"/api/revenue/daily?from=2026-01-01&to=2026-03-31&as_of={text}")
    assert reply.status == 200, reply.body
    assert reply.json["release"] == number
    assert reply.headers["keylake-release"] == str(number)
    assert reply.json["totals"]["revenue"] == add(past.tables[number]["revenue_daily"], "revenue")


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_is_that_of_the_release(past: Past, path: str) -> None:
    """Body and ETag are the same for each way to name a release, and differ between releases."""
    tags = set()
    for number, texts in {1: ("audit", "2026-03-31"), 2: ("2026-04-04", "2"), 3: ("2026-04-05",)}.items():
        plain = ask(past.base, joined(path, f"release={number}"))
        tags.add(plain.headers["etag"])
        for text in texts:
            reply = ask(past.base, joined(path, f"as_of={text}"))
            assert (reply.status, reply.body) == (200, plain.body)
            assert reply.headers["etag"] == plain.headers["etag"]
            again = ask(past.base, joined(path, f"as_of={text}"), If_None_Match=plain.headers["etag"])
            assert (again.status, again.body) == (304, b"")
    assert len(tags) == 3
    assert ask(past.base, path).headers["etag"] in tags


def test_a_moved_tag_names_its_new_release_immediately(past: Past) -> None:
    """A tag is resolved at each request; the cache holds answers by release, not by tag."""
    first, second = (find_release(past.lake, number) for number in (1, 2))
    for release in (first, second, first):
        write_tag(past.lake, release, "moving", now=datetime.now(UTC))
        assert ask(past.base, "/api/summary?as_of=moving").json["release"] == release.release


def test_pages_of_a_table_stay_in_their_release(past: Past) -> None:
    """``next`` has the number of the release, because a day or tag may name another one by then."""
    reply = ask(past.base, "/api/tables/revenue_daily?limit=10&as_of=2026-03-31").json
    assert "release=1" in reply["next"]
    assert "as_of" not in reply["next"]
    assert ask(past.base, reply["next"]).json["release"] == 1


def test_status_and_health_of_an_older_release(past: Past) -> None:
    """The status of an older release has its times and rows, and the ingest that was the last one then."""
    old, new = (ask(past.base, f"/api/status{query}").json for query in ("?as_of=audit", ""))
    assert (old["release"], new["release"]) == (1, 3)
    assert old["published_at"] == "2026-03-31T20:59:59Z"
    assert old["rows"]["gold.revenue_daily"] == len(past.tables[1]["revenue_daily"])
    assert (old["last_run"]["verdict"], new["last_run"]["verdict"]) == ("incomplete", "complete")
    assert old["last_run"]["finished_at"] == "2026-03-31T20:59:59Z"
    assert old["last_run"]["last_complete_at"] is None
    assert ask(past.base, "/api/status?release=1").json["rows"] == old["rows"]
    assert ask(past.base, "/api/health?as_of=2026-03-31").json == {"status": "ok", "release": 1}


def test_releases_as_of_a_release_are_those_up_to_it(past: Past) -> None:
    """``as_of`` ends the list of releases at the release that it names."""
    reply = ask(past.base, "/api/releases?as_of=2026-04-01").json
    assert [line["release"] for line in reply["releases"]] == [2, 1]
    assert (reply["release"], reply["total"]) == (2, 2)
    assert [
        line["release"] for line in ask(past.base, "/api/releases?limit=1&release=1").json["releases"]
    ] == [1]


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        (
            "as_of=2026-03-30",
            404,
            "as_of: nothing was published by 2026-03-30; the first release is of 2026-03-31",
        ),
        ("as_of=4", 404, "release 4 was never published; the newest is 3"),
        ("as_of=0", 404, "release 0 was never published"),
        ("as_of=march", 400, "as_of: 'march' names no release: give a release's number, a tag, a day"),
        ("as_of=march", 400, "the tags are audit"),
        ("as_of=2026-03-31T18:00", 400, "a time needs its zone: 2026-03-31T18:00Z"),
        ("as_of=2026-02-30", 400, "names no release"),
        ("as_of=", 400, "names no release"),
        ("as_of=0001-01-01T00:00%2B14:00", 400, "names no release"),
        ("as_of=a%0Ab", 400, "names no release"),
        ("as_of=1&as_of=2", 400, "as_of is given more than once"),
        ("as_of=1&release=1", 400, "release and as_of both name a release; give one of them"),
    ],
)
def test_as_of_without_a_release_is_refused(past: Past, query: str, status: int, reason: str) -> None:
    """Each endpoint refuses a text that names no release, in one line that names the valid forms."""
    for path in (*PATHS, "/api/health", "/api/status", "/api/releases", "/figures"):
        reply = ask(past.base, joined(path, query))
        assert reply.status == status, (path, reply.body)
        assert reason in reply.json["detail"], path
        assert "\n" not in reply.json["detail"]
        assert past.lake.root not in reply.json["detail"]


def test_the_page_shows_a_release_and_stays_there(past: Past) -> None:
    """The page of an older release has its number and time, and its links keep to that release."""
    page = ask(past.base, "/?as_of=2026-03-31&days=90").body.decode()
    assert 'Release <strong id="release">1</strong>' in page
    assert "published 31.03.2026 23:59" in page
    assert "back to the current one" in page
    assert 'href="/?days=365&release=1"' in page
    current = ask(past.base, "/").body.decode()
    assert 'Release <strong id="release">3</strong>' in current
    assert "back to the current one" not in current
    missing = ask(past.base, "/?as_of=2026-03-30")
    assert (missing.status, b"nothing was published by 2026-03-30" in missing.body) == (404, True)


def test_a_release_without_its_files_is_404(tmp_path: Path) -> None:
    """If files of an older release were deleted, it is a 404; the current one and the list still work."""
    lake = Lake(root=str(tmp_path / "lake"), durable=False)
    publish_gold(lake, make_tables(1, days=3))
    [old] = Path(lake.place, "gold", "revenue_daily").rglob("*.parquet")
    publish_gold(lake, make_tables(2, days=3))
    with server(environ_of(lake)) as base:
        old.unlink()
        for path in ("/api/summary", "/api/health", "/api/status"):
            reply = ask(base, f"{path}?as_of=1")
            assert reply.status == 404, reply.body
            assert "release 1 can't be opened any more; see /api/releases" in reply.json["detail"]
        assert ask(base, "/api/summary").status == 200
        assert len(ask(base, "/api/releases?as_of=1").json["releases"]) == 1
