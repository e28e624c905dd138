"""Releases: the output and the messages of the commands that an operator uses for releases."""

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
from tests.support.built_lake import FEW, Shop, ingested_shop, instant
from tests.support.release_history import NOON, publish_ids

NOT_THERE = "2019-01-01"


@pytest.fixture(autouse=True)
def at_the_lake(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands work on the test's lake."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    monkeypatch.setenv("KEYLAKE_LAKE_MEMORY_LIMIT", "512MB")


class Commands:
    """Runs commands and returns their output."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._group = click.Group("lake", commands={command.name or "": command for command in COMMANDS})

    def __call__(self, *arguments: str) -> str:
        """Run a command that succeeds; return its output."""
        self._captured.readouterr()
        self._group.main(args=list(arguments), prog_name="lake", standalone_mode=False)
        return self._captured.readouterr().out

    def json(self, *arguments: str) -> Any:
        """Run a command with JSON as its format; return the rows."""
        return json.loads(self(*arguments, "--format", "json"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Return the commands, to be called with their arguments."""
    return Commands(capsys)


def test_the_list_shows_holds_and_tags(lake: Lake, run: Commands) -> None:
    """The list has the newest release first, with its kind, hold and tags."""
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


def test_the_list_shows_which_releases_are_kept(lake: Lake, run: Commands) -> None:
    """A release is kept if it is recent, has a tag or is the last of its day."""
    old = datetime.now(UTC) - timedelta(days=3)
    for number in (1, 2, 3, 4):
        publish_ids(lake, number, at=old + timedelta(milliseconds=number))
    for number in (5, 6):
        publish_ids(lake, number, at=datetime.now(UTC))
    write_tag(lake, find_release(lake, 2), "audit", now=datetime.now(UTC))
    kept = {row["release"]: row["is_kept"] for row in run.json("releases")}
    assert kept == {6: True, 5: True, 4: True, 3: False, 2: True, 1: False}


def test_rollback_and_resume_print_their_result(lake: Lake, run: Commands) -> None:
    """A rollback and a resume print their release and the next step."""
    for ids in ((1, 2), (3,)):
        publish_ids(lake, *ids, at=datetime.now(UTC))
    output = run("rollback")
    assert output.startswith("release 3 (rollback) serves the same rows as release 1")
    assert "on hold until `just resume`" in output
    assert run("resume") == "release 4 (resume): builds publish again; run `just transform` next\n"
    assert "publishing is not on hold" in run("resume")
    assert "serves the same rows as release 2" in run("rollback", "2")


def test_a_rollback_past_an_exclusion_lists_the_runs_included_again(lake: Lake, run: Commands) -> None:
    """If a rollback undoes the release that excluded a run, the message names the run."""
    shop = opened_few(lake)
    assert run_resume(shop.lake, exclude=["bad"], now=datetime.now(UTC))
    assert "excluded after release 1 are included again: bad" in run("rollback", "1")


def test_tags_are_moved_and_removed(lake: Lake, run: Commands) -> None:
    """A tag can be given to another release, and can be removed; an unknown tag is refused."""
    for number in (1, 2):
        publish_ids(lake, number, at=datetime.now(UTC))
    assert run("tag", "1", "fine") == "release 1 is tagged fine\n"
    assert run("tag", "2", "fine") == "release 2 is tagged fine; release 1 is not any more\n"
    assert run("tag", "fine", "better") == "release 2 is tagged better\n"
    assert run("untag", "fine") == "release 2 is no longer tagged fine\n"
    with pytest.raises(UsageError, match="'fine' is no tag; the tags are better"):
        run("untag", "fine")


def test_a_release_past_its_retention_is_not_tagged(lake: Lake, run: Commands) -> None:
    """A tag for an old release is refused, because its files may be deleted already."""
    publish_ids(lake, 1, at=NOON.replace(year=2020))
    publish_ids(lake, 2, at=NOON.replace(year=2021))
    publish_ids(lake, 3, at=datetime.now(UTC))
    with pytest.raises(NoRelease, match="its files may be deleted"):
        run("tag", "1", "old")


def opened_few(lake: Lake) -> Shop:
    """Return a shop with two releases; in the second one, run ``bad`` has changed the total of order 2."""
    shop = opened_at(lake)
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | manager_id | status_id | grand_total | run_id | fetched_at\n"
        f"2 | 2026-06-10 10:00 | 1 | 22 | 12 | 150.00 | bad | {instant(1)}",
    )
    shop.publish()
    return shop


def opened_at(lake: Lake) -> Shop:
    """Return a shop with one release."""
    shop = ingested_shop(Path(lake.place), models=FEW)
    shop.publish()
    return shop


def test_diff_and_explain_print_what_moved_and_why(lake: Lake, run: Commands) -> None:
    """The table has a summary line before it, and JSON has only the rows."""
    opened_few(lake)
    output = run("diff", "1", "2", "--orders", "--table", "gold.revenue_daily")
    assert output.startswith("release 1 → 2: revenue 1,100.00 → 1,050.00 ₴ (-50.00); tables 1, days 1\n")
    assert "200.00 → 150.00" in output
    assert "orders moved: 1\n" in output
    [day] = run.json("diff", "1", "2", "--table", "gold.revenue_daily")
    assert (day["date"], day["money_before"], day["money_after"]) == ("2026-06-10", 200, 150)
    [order] = run.json("diff", "1", "2", "--orders")
    assert (order["order_id"], order["total_before"], order["total_after"]) == (2, 200, 150)
    assert run("diff", "2", "2").endswith("nothing differs\n")
    [order] = run.json("explain", "2026-06-10", "--release", "1", "--sales-type", "retail")
    assert (order["order_id"], order["revenue"]) == (2, 200)
    assert "revenue 150.00 ₴, orders 1" in run("explain", "2026-06-10", "--as-of", "2")
    assert "revenue 0.00 ₴, orders 0; returns left out: 400.00 ₴ in 1" in run("explain", "2026-07-01")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "today"), "'today' is not a day; write it as 2026-03-31"),
        (("explain", "2026-06-10", "--release", "1", "--as-of", "1"), "give one of them"),
        (("diff", "1", NOT_THERE), f"nothing was published by {NOT_THERE}"),
        (("rollback", "march"), "'march' names no release"),
        (("rollback",), "release 1 is the first"),
        (("resume", "--exclude-run", "x"), "run x: no such run"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    lake: Lake, run: Commands, arguments: tuple[str, ...], message: str
) -> None:
    """A command that can't be done prints one line and publishes nothing."""
    publish_ids(lake, 1, at=datetime.now(UTC))
    with pytest.raises(LakeError, match=message) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)
    assert find_release(lake, None).release == 1
