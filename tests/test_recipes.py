"""Recipes, run through `just` as a user types them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from lake.config import DEFAULT_FILE
from lake.paths import Lake
from tests.support.running import environ_of
from tests.support.shop_edits import edit

PROJECT = DEFAULT_FILE.parent
JUST = Path(sys.executable).parent / "just"
SMALL = Sandbox(port=0, days=15, orders_per_day=10, day_seconds=0, requests_per_minute=0)


@pytest.fixture(scope="module")
def shop() -> Iterator[ThreadedShop]:
    """Run a shop with fifteen days of orders."""
    with serving(SMALL) as running:
        yield running


def just(environ: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a recipe with this Python, from a folder outside the project."""
    command = [str(JUST), "--justfile", str(PROJECT / "justfile"), "--set", "python", sys.executable, *words]
    return subprocess.run(
        command,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_just_without_a_recipe_prints_the_menu(lake: Lake) -> None:
    """`just` without a recipe lists each recipe in one line with its purpose."""
    menu = just(environ_of(lake))
    assert menu.returncode == 0
    recipes = (
        "demo ingest transform sync serve schedule status releases sql validate sandbox test check clean"
    )
    for recipe in recipes.split():
        (line,) = [line for line in menu.stdout.splitlines() if line.split()[:1] == [recipe]]
        assert "# " in line


def test_recipes_pass_on_words_and_options(shop: ThreadedShop, lake: Lake) -> None:
    """Words with spaces arrive unchanged, and options reach their command."""
    environ = environ_of(lake, shop.url)
    for words in (
        ("ingest", "full"),
        ("ingest",),
        ("ingest", "sweep", "--all"),
        ("transform", "--full"),
        ("sync",),
    ):
        done = just(environ, *words)
        assert done.returncode == 0, (words, done.stderr)
    query = "select count(*) as orders, 'a  b' as text from silver.orders"
    assert just(environ, "sql", query, "--format", "csv").stdout.endswith(',"a  b"\n')
    assert "bronze.orders" in just(environ, "status").stdout
    assert "full" in just(environ, "releases").stdout


def test_exit_codes_pass_through_with_one_line(shop: ThreadedShop, lake: Lake) -> None:
    """A recipe passes on exit code 2 for wrong usage, 1 for an unknown release and 4 for a missing ingest."""
    environ = environ_of(lake, shop.url)
    for words, code in (
        (("sql", "select 1", "--release", "7"), 1),
        (("status", "--nope"), 2),
        (("transform",), 4),
    ):
        done = just(environ, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), (words, done)


def test_failed_check_is_exit_3_and_the_last_release_serves(shop: ThreadedShop, lake: Lake) -> None:
    """If a total falls by more than one order, nothing is committed, and the error names the failed check."""
    environ = environ_of(lake, shop.url)
    assert just(environ, "ingest", "full").returncode == 0
    assert just(environ, "transform").returncode == 0
    query = ("sql", "select sum(revenue) from gold.revenue_daily", "--format", "csv")
    before = just(environ, *query).stdout
    ids = sorted(order.id for order in shop.call(lambda running: running.world.truth()).orders)
    edit(shop, *(edits.EditOrder(number, grand_total=Decimal(0)) for number in ids[-2:]))
    done = just({**environ, "KEYLAKE_TRANSFORM_LARGEST_FALL": "0"}, "sync")
    assert done.returncode == 3
    assert "release.totals_hold" in done.stderr
    assert (
        just(environ, "sql", "select sum(revenue) from gold.revenue_daily", "--format", "csv").stdout
        == before
    )
    assert "nothing was committed" in done.stderr


@pytest.mark.parametrize("kind", ["order", "window", "sweep"])
def test_a_partial_history_is_not_published(kind: str, shop: ThreadedShop, lake: Lake) -> None:
    """A build is refused if no full load has completed."""
    words = {
        "order": ("order", "5", "6"),
        "window": ("window", "--from", "2024-09-02", "--to", "2024-09-03"),
        "sweep": ("sweep", "--days", "3"),
    }[kind]
    environ = environ_of(lake, shop.url)
    assert just(environ, "ingest", *words).returncode == 0
    assert just(environ, "transform").returncode == 4
