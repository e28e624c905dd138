"""Commands as an operator meets them: exit codes, one line per error, no terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import duckdb
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ingest.sandbox.command import ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from lake.cli.main import explanation
from lake.cli.prompt import one_line
from lake.config import read_config
from lake.ledgers.origin import claim_origin
from lake.paths import Lake
from serve.demo import CHOICES
from serve.settings import ScheduleSettings
from tests.support.running import environ_of, launched, run, succeed

SMALL = Sandbox(port=0, days=20, orders_per_day=10, day_seconds=0, requests_per_minute=0)
# A program that works until it is interrupted, in DuckDB or outside it, and then closes its resources.
ENDLESS = """
import signal, threading, time
import click
from lake.cli.main import main
from lake.query.session import connect, fetch
from lake.settings import LakeSettings

def report(cpu):
    # The query is running once the process has used some CPU time.
    while time.process_time() < cpu:
        time.sleep(0.01)
    print("started", flush=True)

@click.command()
@click.argument("what")
def work(what):
    try:
        if what == "query":
            # One thread: with several, the main thread may get no work, and DuckDB then checks no signal.
            connection = connect(LakeSettings(threads=1))
            threading.Thread(target=report, args=[time.process_time() + 0.5], daemon=True).start()
            fetch(connection, "select sum(range % 7) from range(1000000000000)")
        report(0)
        time.sleep(600)
    finally:
        print("closed", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)
main(work, "work")
"""
# Separator that delta-rs writes between an error and its cause, each on its own line.
ARROW = "\n          \x1b[31m↳\x1b[0m "


@pytest.fixture(scope="module")
def shop() -> Iterator[ThreadedShop]:
    """Run a shop with twenty days of orders."""
    with serving(SMALL) as running:
        yield running


def refused(environ: dict[str, str], *command: str, code: int) -> str:
    """Run a command that must fail with exit code ``code``; return its one line on stderr."""
    done = run(environ, *command)
    assert (done.returncode, done.stdout) == (code, ""), f"{command}: {done}"
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_commands_report_their_result(shop: ThreadedShop, lake: Lake) -> None:
    """Each command from the ingest to a query prints its result in one line."""
    environ = environ_of(lake, shop.url)
    assert "full ingest complete" in succeed(environ, "ingest", "full")
    assert "release 1 (full)" in succeed(environ, "transform")
    assert "nothing changed" in succeed(environ, "transform")
    assert "nothing new" in succeed(environ, "ingest", "incremental")
    assert "release 1 (full), published" in succeed(environ, "lake", "status")
    query = "select count(*) as orders from silver.orders"
    assert "orders" in succeed(environ, "lake", "sql", query)
    assert succeed(environ, "lake", "sql", query, "--format", "csv").startswith("orders\n")
    assert '"orders":' in succeed(environ, "lake", "sql", query, "--format", "json")
    assert succeed(environ, "lake", "sql", query, "--release", "1") == succeed(environ, "lake", "sql", query)


def test_an_empty_lake_names_the_next_step(lake: Lake) -> None:
    """Every message about an empty lake names the next step."""
    environ = environ_of(lake)
    assert "just sync" in refused(environ, "lake", "sql", "select 1", "--release", "1", code=1)
    assert succeed(environ, "lake", "sql", "select 1 as one", "--format", "csv") == "one\n1\n"
    assert "just ingest full" in refused(environ, "transform", code=4)
    status = succeed(environ, "lake", "status")
    assert "no release yet" in status
    assert f"there is no table in {lake.place}" in status
    assert "nothing is published yet" in succeed(environ, "lake", "releases")


def test_erasure_without_a_lake_is_refused(lake: Lake) -> None:
    """A mistyped root does not look like an erased buyer, and no lake is created there."""
    assert "no such table" in refused(environ_of(lake), "ingest", "erase-buyer", "5", code=1)
    assert not Path(lake.root).exists()


def test_a_closed_pipe_ends_a_command_silently(lake: Lake) -> None:
    """If the reader closes the pipe, as `| head -3` does, the command ends without an error."""
    command = [sys.executable, "-m", "transform", "checks", "--all"]
    root = Path(__file__).parents[1]
    pipe = subprocess.PIPE
    with launched(command, cwd=root, env=environ_of(lake), stdout=pipe, stderr=pipe) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("lake", "nothing"), "No such command"),
        (("lake", "releases", "--limit", "0"), "--limit"),
        (("lake", "sql", " ; "), "the query is empty"),
        (("lake", "sql", "select 1", "--release", "1", "--as-of", "2026-01-01"), "give one of them"),
        (("lake", "sql", "select 1", "--format", "xml"), "--format"),
        (("ingest", "half"), "No such command"),
        (("ingest", "sandbox", "--clock", "noon"), "--clock"),
        (("transform", "--ful"), "--ful"),
        (("transform", "--because", " "), "--because"),
        (("serve", "resync", "--because", ""), "say in a few words why"),
        (("transform", "models", "--graph", "g.txt"), "a file that ends in .svg"),
        (("transform", "models", "xx"), "see `python -m transform models --help`"),
        (("serve", "api", "--port", "x"), "--port"),
    ],
)
def test_wrong_usage_is_exit_2(lake: Lake, command: tuple[str, ...], message: str) -> None:
    """Wrong usage is one line with exit code 2."""
    assert message in refused(environ_of(lake), *command, code=2)


@pytest.mark.parametrize(
    "command", [("lake", "status"), ("ingest", "full"), ("transform",), ("serve", "api")]
)
def test_a_wrong_setting_is_exit_2_for_every_command(lake: Lake, command: tuple[str, ...]) -> None:
    """Every command refuses a wrong setting, even if only another package uses it."""
    environ = environ_of(lake, KEYLAKE_RULES_EXCLUDED_SOURCES="three")
    assert "KEYLAKE_RULES_EXCLUDED_SOURCES" in refused(environ, *command, code=2)


@pytest.mark.parametrize("command", [("lake", "sql", "select 1"), ("serve", "api", "--port", "0")])
def test_an_unusable_spill_folder_is_exit_2(lake: Lake, command: tuple[str, ...]) -> None:
    """A spill folder that can't be created is refused when the command starts, not when a query spills."""
    environ = environ_of(lake, KEYLAKE_LAKE_SPILL="/proc/none")
    assert "[lake] spill: /proc/none can't be written: " in refused(environ, *command, code=2)


def test_missing_key_is_exit_2_and_a_wrong_one_exit_1(shop: ThreadedShop, lake: Lake) -> None:
    """The CRM's key comes from the environment only, and is never printed."""
    environ = environ_of(lake, shop.url)
    assert "KEYCRM_API_KEY is not set" in refused({**environ, "KEYCRM_API_KEY": ""}, "ingest", "full", code=2)
    done = run({**environ, "KEYCRM_API_KEY": "a-wrong-secret"}, "ingest", "full")
    assert done.returncode == 1
    assert "refused the API key" in done.stderr
    assert "a-wrong-secret" not in done.stdout + done.stderr


def test_an_unreachable_crm_is_exit_4(lake: Lake) -> None:
    """If the CRM is unreachable, the ingest is incomplete and exits with 4."""
    done = run(environ_of(lake, KEYLAKE_SOURCE_ATTEMPTS="2"), "ingest", "full")
    assert done.returncode == 4
    assert "incomplete" in done.stderr.splitlines()[-1]


def test_bad_sql_is_one_line(shop: ThreadedShop, lake: Lake) -> None:
    """Wrong SQL is DuckDB's message with exit code 2; an unknown release is exit code 1."""
    environ = environ_of(lake, shop.url)
    succeed(environ, "ingest", "full")
    succeed(environ, "transform")
    assert "nothing_there" in refused(environ, "lake", "sql", "from nothing_there", code=2)
    assert "syntax error" in refused(environ, "lake", "sql", "selec 1", code=2)
    assert "the newest is 1" in refused(environ, "lake", "sql", "select 1", "--release", "9", code=1)


def test_debug_shows_the_traceback(lake: Lake) -> None:
    """An error prints its traceback if the command has --debug."""
    done = run(environ_of(lake), "lake", "sql", "select 1", "--release", "1", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("what", ["query", "other work"])
def test_an_interrupted_command_closes_its_resources(lake: Lake, tmp_path: Path, what: str) -> None:
    """An interrupted command closes its resources and prints one line, even with --debug."""
    environ = environ_of(lake, PYTHONPATH=str(Path(__file__).parents[1]))
    # A file: with -c DuckDB assumes an interactive session and draws a progress bar.
    program = tmp_path / "work.py"
    program.write_text(ENDLESS)
    command = [sys.executable, str(program), what, "--debug"]
    with launched(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == "started\n"
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate()
    assert (child.returncode, output) == (130, "closed\n")
    assert errors.strip() == "interrupted; finished work is kept"


@pytest.mark.parametrize("command", [("lake", "status"), ("lake", "sql", "from gold.x"), ("transform",)])
def test_store_error_is_one_line(s3_lake: Lake, command: tuple[str, ...]) -> None:
    """If the object store refuses a request, the error is one line with the reason and what to check."""
    nowhere = environ_of(Lake(root="s3://nowhere/lake"))
    line = refused(nowhere, *command, code=1)
    assert line == (
        f"error: the object store can't be reached or refuses the request: {nowhere['AWS_ENDPOINT_URL']}:"
        " The specified bucket does not exist; check [lake] root and the credentials in the environment\n"
    )
    plain_http = {**environ_of(s3_lake), "AWS_ALLOW_HTTP": "false"}
    assert "an http:// endpoint needs AWS_ALLOW_HTTP=true;" in refused(plain_http, *command, code=1)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (
            [
                "Generic S3 error",
                "Error performing PUT http://169.254.169.254/latest/api/token in 3ms, after 10 retries"
                " - HTTP error",
                "error sending request",
            ],
            "the environment has no credentials for it",
        ),
        (
            [
                "Generic S3 error",
                "Error performing list request",
                "Error performing GET http://127.0.0.1:9/b?list-type=2 in 12s, after 9 retries, max_retries",
                "10, retry_timeout",
                "180s - HTTP error",
                "error sending request",
                "Connection refused (os error 111)\n",
            ],
            "http://127.0.0.1:9: Connection refused (os error 111)",
        ),
        (
            [
                "Kernel error -> The operation lacked the necessary privileges to complete for path lake/a",
                "Error performing HEAD https://s3.example/b/a in 4ms - Server returned non-2xx status code",
                "403 Forbidden\n",
            ],
            "https://s3.example: 403 Forbidden",
        ),
        (
            [
                "Generic GCS error",
                "Error performing GET https://storage.example/b in 5ms - Server returned non-2xx status code",
                "401 Unauthorized",
                '{"error"',
                '{"code"',
                '401, "message"',
                '"Anonymous caller"}}\n',
            ],
            "https://storage.example: 401 Unauthorized",
        ),
        (
            ["Operation not supported: an error occurred while loading credentials: failed to load: denied"],
            "the environment has no credentials for it",
        ),
        (["Generic MicrosoftAzure error", "Account must be specified\n"], "Account must be specified"),
    ],
)
def test_a_long_error_of_delta_rs_becomes_one_line(steps: list[str], reason: str) -> None:
    """The line has the address and the reason, without the body of the response and the other causes."""
    line = explanation(OSError(ARROW.join(steps)))
    assert line.split(": ", 1)[1].split(";")[0] == reason
    # DuckDB passes on the same error, because it reads a store through Python.
    passed_on = f'Traceback (most recent call last):\n  File "<string>", line 1\nOSError: {ARROW.join(steps)}'
    assert one_line(duckdb.IOException(passed_on)) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(30, "Read-only file system", "x/part.parquet"), "the disk is read-only, "),
        (
            OSError("Failed to open 'a.half'. Detail: [errno 30] Read-only file system"),
            "the disk is read-only, ",
        ),
        (OSError("Generic LocalFileSystem error: x.parquet (os error 30)"), "the disk is read-only, "),
        (OSError(28, "No space left on device", "/backup/a"), "no space left on the disk (/backup/a); "),
        (OSError("write failed: No space left on device"), "no space left on the disk; "),
    ],
)
def test_a_disk_that_takes_nothing_is_named(error: OSError, line: str) -> None:
    """A read-only disk is no damage; a full one is named by the file, if the error has it."""
    assert explanation(error).startswith(line)


def test_a_long_error_of_obstore_becomes_one_line() -> None:
    """The line has the address and the reason of an error that obstore describes over many lines."""
    store = S3Store(
        "bucket",
        endpoint="http://127.0.0.1:9",
        region="x",
        skip_signature=True,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
    )
    with pytest.raises(BaseError) as caught:
        store.put("a/b", b"x")
    assert "refuses the request: http://127.0.0.1:9: error sending request; check" in explanation(
        caught.value
    )


def test_an_error_line_has_no_colours(lake: Lake) -> None:
    """The terminal colours in an error's message are removed from its line."""
    program = ENDLESS.replace("time.sleep(600)", r"raise OSError('a\n \x1b[31m↳\x1b[0m b')")
    environ = environ_of(lake, PYTHONPATH=str(Path(__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-c", program, "other work"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "error: OSError: a: b; add --debug to see the traceback\n")


def test_every_command_has_help(lake: Lake) -> None:
    """Every package prints its usage with --help."""
    for package in ("lake", "ingest", "transform", "serve"):
        assert "Usage:" in succeed(environ_of(lake), package, "--help")


def test_the_demos_choices_are_settings() -> None:
    """Each choice of the demo names a setting and has a value of its type."""
    with patch.dict(os.environ, CHOICES):
        config = read_config()
        assert config.section(ScheduleSettings) == ScheduleSettings(sync_every_seconds=3, upkeep=False)
        assert config.section(Sandbox).day_seconds == 120


def test_clean_and_demo_leave_a_real_lake_alone(lake: Lake) -> None:
    """If a CRM filled the lake, `clean` does not remove it and `demo` does not add a sandbox to it."""
    claim_origin(lake, "https://openapi.keycrm.app/v1")
    assert "is not removed" in refused(environ_of(lake), "lake", "clean", code=2)
    assert "LAKE_ROOT" in refused(environ_of(lake), "serve", "demo", "--once", code=2)
    assert Path(lake.root, "ops", "origins").exists()


def test_another_shop_is_refused(shop: ThreadedShop, lake: Lake) -> None:
    """A lake refuses a second shop, because ids of two shops collide."""
    environ = environ_of(lake, shop.url)
    succeed(environ, "ingest", "order", "3")
    line = refused({**environ, "KEYLAKE_SOURCE_BASE_URL": "https://crm.example/v1"}, "ingest", "full", code=2)
    assert "a lake takes one shop" in line
    assert "KEYLAKE_LAKE_ROOT" in line


def test_clean_removes_lakes_and_nothing_else(lake: Lake) -> None:
    """`clean` does not change a folder that is no lake."""
    Path(lake.root, "ops", "precious").mkdir(parents=True)
    assert "no lake is there" in succeed(environ_of(lake), "lake", "clean")
    assert Path(lake.root, "ops", "precious").exists()


def test_two_lakes_do_not_touch_each_other(shop: ThreadedShop, tmp_path: Path) -> None:
    """Two lakes on one machine are ingested, built and removed independently."""
    lakes = [Lake(root=str(tmp_path / name), durable=False) for name in ("one", "two")]
    for lake in lakes:
        succeed(environ_of(lake, shop.url), "ingest", "full")
    succeed(environ_of(lakes[0], shop.url), "transform")
    succeed(environ_of(lakes[0], shop.url), "lake", "clean")
    assert not Path(lakes[0].root).exists()
    assert "release 1" in succeed(environ_of(lakes[1], shop.url), "transform")
