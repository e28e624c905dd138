"""The commands over releases, as an operator meets them."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from lake.cli.releases import COMMANDS
from lake.errors import LakeError, NoRelease, UsageError
from lake.history.rollback import run_resume
from lake.paths import Lake
from lake.releases.release import find_release
from lake.releases.tags import write_tag
from tests.support.built_lake import FEW, Shop, look, opened
from tests.support.release_history import NOON, publish_ids

NOT_THERE = "2019-01-01"


@pytest.fixture(autouse=True)
def at_the_lake(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands work on the test's lake."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    monkeypatch.setenv("KEYLAKE_LAKE_MEMORY_LIMIT", "512MB")


class Commands:
    """Runs commands and returns what they print."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._group = click.Group("lake", commands={command.name or "": command for command in COMMANDS})

    def __call__(self, *arguments: str) -> str:
        """Return what a command that succeeds prints."""
        self._captured.readouterr()
        self._group.main(args=list(arguments), prog_name="lake", standalone_mode=False)
        return self._captured.readouterr().out

    def json(self, *arguments: str) -> Any:
        """Return the rows that a command prints as JSON."""
        return json.loads(self(*arguments, "--format", "json"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Commands:
    """The commands."""
    return Commands(capsys)


def test_the_list_shows_holds_and_tags(lake: Lake, run: Commands) -> None:
    """And what was excluded; newest first."""
    assert "nothing is published yet" in run("releases")
    assert run.json("releases") == []
    for number in (1, 2):
        publish_ids(lake, number, at=datetime.now(UTC))
    run("tag", "1", "audit")
    run("tag", "1", "Березень")
    run("rollback")
    rows = run.json("releases")
    assert [(row["release"], row["kind"], row["is_held"], row["tags"]) for row in rows] == [
        (3, "rollback", True, []),
        (2, "sync", False, []),
        (1, "sync", False, ["audit", "Березень"]),
    ]
    assert re.search(r"^ +3 .* rollback +2 +yes ", run("releases"), re.MULTILINE)
    assert "audit, Березень" in run("releases", "--limit", "3")


def test_the_list_tells_what_is_kept(lake: Lake, run: Commands) -> None:
    """The last of a day, the young and the tagged; the others may be gone."""
    old = datetime.now(UTC) - timedelta(days=3)
    for number in (1, 2, 3, 4):
        publish_ids(lake, number, at=old + timedelta(milliseconds=number))
    for number in (5, 6):
        publish_ids(lake, number, at=datetime.now(UTC))
    write_tag(lake, find_release(lake, 2), "audit", now=datetime.now(UTC))
    kept = {row["release"]: row["is_kept"] for row in run.json("releases")}
    assert kept == {6: True, 5: True, 4: True, 3: False, 2: True, 1: False}


def test_rollback_and_resume_say_what_they_did(lake: Lake, run: Commands) -> None:
    """And how to go on."""
    for ids in ((1, 2), (3,)):
        publish_ids(lake, *ids, at=datetime.now(UTC))
    said = run("rollback")
    assert said.startswith("release 3 (rollback) shows what release 1 showed")
    assert "held until `just resume`" in said
    assert run("resume") == "release 4 (resume): builds publish again; `just transform` is the next one\n"
    assert "nothing is held" in run("resume")
    assert "shows what release 2 showed" in run("rollback", "2")


def test_a_rollback_past_an_exclusion_says_which_runs_are_back(lake: Lake, run: Commands) -> None:
    """They were excluded by a release that readers leave."""
    shop = opened_few(lake)
    assert run_resume(shop.lake, exclude=["bad"], now=datetime.now(UTC))
    assert "excluded after release 1 are not any more: bad" in run("rollback", "1")


def test_tags_are_moved_and_taken(lake: Lake, run: Commands) -> None:
    """A release of long ago can't be tagged any more: its files may be gone."""
    for number in (1, 2):
        publish_ids(lake, number, at=datetime.now(UTC))
    assert run("tag", "1", "fine") == "release 1 is fine\n"
    assert run("tag", "2", "fine") == "release 2 is fine, and release 1 no longer\n"
    assert run("tag", "fine", "better") == "release 2 is better\n"
    assert run("untag", "fine") == "release 2 is no longer fine\n"
    with pytest.raises(UsageError, match="'fine' is no tag; the tags are better"):
        run("untag", "fine")


def test_a_release_that_is_gone_is_not_tagged(lake: Lake, run: Commands) -> None:
    """A name would promise what is not there."""
    publish_ids(lake, 1, at=NOON.replace(year=2020))
    publish_ids(lake, 2, at=NOON.replace(year=2021))
    publish_ids(lake, 3, at=datetime.now(UTC))
    with pytest.raises(NoRelease, match="its files may be deleted"):
        run("tag", "1", "old")


def opened_few(lake: Lake) -> Shop:
    """Return a shop with two releases: in the second, order 2 was seen at another total by run ``bad``."""
    shop = opened_at(lake)
    shop.see(
        "bronze.orders",
        "id | ordered_at | source_id | manager_id | status_id | grand_total | run_id | fetched_at\n"
        f"2 | 2026-06-10 10:00 | 1 | 22 | 12 | 150.00 | bad | {look(1)}",
    )
    shop.published()
    return shop


def opened_at(lake: Lake) -> Shop:
    """Return a shop with one release."""
    shop = opened(Path(lake.place), models=FEW)
    shop.published()
    return shop


def test_diff_and_explain_print_what_moved_and_why(lake: Lake, run: Commands) -> None:
    """As a table with a line in front, as JSON rows alone."""
    opened_few(lake)
    said = run("diff", "1", "2", "--orders", "--table", "gold.revenue_daily")
    assert said.startswith("release 1 → 2: revenue 1,100.00 → 1,050.00 ₴ (-50.00); tables 1, days 1\n")
    assert "200.00 → 150.00" in said
    assert "orders moved: 1\n" in said
    [day] = run.json("diff", "1", "2", "--table", "gold.revenue_daily")
    assert (day["date"], day["money_before"], day["money_after"]) == ("2026-06-10", 200, 150)
    [order] = run.json("diff", "1", "2", "--orders")
    assert (order["order_id"], order["total_before"], order["total_after"]) == (2, 200, 150)
    assert run("diff", "2", "2").endswith("nothing differs\n")
    [order] = run.json("explain", "2026-06-10", "--release", "1", "--sales-type", "retail")
    assert (order["order_id"], order["revenue"]) == (2, 200)
    assert "revenue 150.00 ₴, orders 1" in run("explain", "2026-06-10", "--as-of", "2")
    assert "revenue 0.00 ₴, orders 0; left out as returned: 400.00 ₴ of 1" in run("explain", "2026-07-01")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "today"), "'today' is no day; write it as 2026-03-31"),
        (("explain", "2026-06-10", "--release", "1", "--as-of", "1"), "give one of them"),
        (("diff", "1", NOT_THERE), f"nothing was published by {NOT_THERE}"),
        (("rollback", "march"), "'march' names no release"),
        (("rollback",), "release 1 is the first"),
        (("resume", "--exclude-run", "x"), "run x: no such run"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    lake: Lake, run: Commands, arguments: tuple[str, ...], said: str
) -> None:
    """And nothing is published by it."""
    publish_ids(lake, 1, at=datetime.now(UTC))
    with pytest.raises(LakeError, match=said) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)
    assert find_release(lake, None).release == 1
