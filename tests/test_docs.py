"""README and ``docs/``: each command runs, each link resolves, and each route and recipe is described.

The language of a fence decides what happens with its block. The blocks of a page run in order, in a copy of
the project with the lake of a sandbox shop in ``data/lake``. The CRM of that copy is the same shop.

- ``sh``: a bash script that has to end with 0. ``127.0.0.1:8000`` is replaced by the address of a server.
- ``sql``: runs in ``just sql``. ``python``: runs as a script. ``diff``: is applied with ``git apply``.
- ``json``: what the ``sh`` block before printed: the same keys, and the same number of elements. In an object
  or a list that was shortened, "…" stands for the rest.
- any language with ``file=PATH``: the block is written to that file.
- any language with ``no-run``: shown only, because it needs minutes, another program, or a real CRM.
- any other language (``text``, ``mermaid`` …): shown only.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest

from ingest.sandbox.command import serving
from ingest.sandbox.settings import Sandbox
from lake.config import PREFIX, read_config, read_overrides
from lake.paths import Lake
from tests.support.running import environ_of, server, succeed

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
API, README = ROOT / "docs" / "api.md", ROOT / "README.md"
# The history begins as the demo's does, and is shorter.
SHOP = Sandbox(port=0, days=30, day_seconds=0, requests_per_minute=0)
BIN = Path(sys.executable).parent
ADDRESS = "http://127.0.0.1:8000"
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "data", "build", "*.egg-info", ".*_cache", ".hypothesis", ".ci"
)
LEFT_OUT = "…"
MOST_LINES, MOST_WORDS, MOST_BYTES = 120, 30, 300_000

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# A path of the project in inline code; placeholders have angle brackets and do not match.
FILE = re.compile(
    r"`((?:lake|ingest|transform|serve|tests|docs|deploy)/[\w./]+\.(?:py|sql|toml|md|yml|service))`"
)
# The tutorial's own table.
EXAMPLE = "payment_daily"


class Block(NamedTuple):
    """A fenced block: its page, its first line (from 1), its language, the words after that, its text."""

    page: Path
    line: int
    language: str
    options: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        """The page and line, as an editor opens them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block is written to, or None."""
        return next((word.removeprefix("file=") for word in self.options if word.startswith("file=")), None)

    @property
    def is_query(self) -> bool:
        """True if the block is SQL to run, and not a file."""
        return self.language == "sql" and self.file is None

    @property
    def is_run(self) -> bool:
        """True if the test does something with the block."""
        if "no-run" in self.options:
            return False
        return self.file is not None or self.language in ("sh", "sql", "python", "diff", "json")


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text[: match.start()].count("\n") + 2,
            match[1],
            tuple(match[2].split()),
            match[3],
        )
        for match in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """Return the text of a page without fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def steps(page: Path) -> Iterator[Block]:
    """Yield the blocks to run; consecutive queries are one block, because each process takes a second."""
    for is_query, group in groupby(
        filter(lambda block: block.is_run, blocks(page)), lambda block: block.is_query
    ):
        first, *others = group
        if is_query:
            yield first._replace(
                text=";\n".join(block.text.strip().rstrip(";") for block in (first, *others))
            )
        else:
            yield from (first, *others)


RUN_PAGES = [page for page in PAGES if any(block.is_run for block in blocks(page))]


class Filled(NamedTuple):
    """A lake of two releases, and the environment of commands on it and on its shop."""

    lake: Path
    environ: dict[str, str]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Fill one lake for all pages; each page works on a copy."""
    place = tmp_path_factory.mktemp("docs") / "lake"
    with serving(SHOP) as shop:
        environ = environ_of(Lake(root=str(place), durable=False), shop.url)
        succeed(environ, "ingest", "full")
        succeed(environ, "transform")
        shop.call(lambda running: running.world.advance(running.world.now + timedelta(hours=6)))
        succeed(environ, "ingest", "incremental")
        succeed(environ, "transform")
        yield Filled(place, environ)


class Reader:
    """A person who follows one page, in a copy of the project."""

    def __init__(self, folder: Path, filled: Filled, stack: ExitStack) -> None:
        self.folder = folder / "keylake"
        shutil.copytree(ROOT, self.folder, ignore=NOT_COPIED)
        shutil.copytree(filled.lake, self.folder / "data" / "lake")
        (self.folder / ".venv").symlink_to(sys.prefix)
        left_out = ("PYTEST_", f"{PREFIX}CONFIG", f"{PREFIX}LAKE_ROOT")
        self.environ = {
            **{name: value for name, value in filled.environ.items() if not name.startswith(left_out)},
            "PATH": f"{BIN}{os.pathsep}{filled.environ['PATH']}",
        }
        self._stack = stack
        self._server: ExitStack | None = None
        self._address = ""
        self._printed = ""

    def follow(self, block: Block) -> None:
        """Do what the block shows. Raises AssertionError if it does not work."""
        if block.file:
            target = self.folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, "utf-8")
        elif block.language == "json":
            problems = [*differences(json.loads(block.text), json.loads(self._printed))]
            assert not problems, f"{block.place}: {'; '.join(problems)}"
        elif block.language == "sh":
            text = block.text.replace(ADDRESS, self.address) if ADDRESS in block.text else block.text
            self._printed = self._run(block, "bash", "-euo", "pipefail", "-c", text)
        elif block.language == "sql":
            self._run(block, sys.executable, "-m", "lake", "sql", stdin=block.text)
        elif block.language == "python":
            self._run(block, sys.executable, "-c", block.text)
        elif block.language == "diff":
            self._run(block, "git", "apply", "-", stdin=block.text)
            self._stop_server()

    @property
    def address(self) -> str:
        """The address of a server over this copy; it is started when it is first used."""
        if self._server is None:
            self._server = self._stack.enter_context(ExitStack())
            child = subprocess.Popen(
                [sys.executable, "-m", "serve", "api", "--port", "0"],
                cwd=self.folder,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self._server.callback(child.wait, 60)
            self._server.callback(child.terminate)
            assert child.stdout
            line = child.stdout.readline()
            assert "http://" in line, f"the server did not start: {line!r}"
            self._address = "http://" + line.split("http://")[1].strip().rstrip("/")
        return self._address

    def _stop_server(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    def _run(self, block: Block, *command: str, stdin: str = "") -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        printed = f"{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.returncode == 0, f"{block.place}: exit {done.returncode}\n{printed}"
        return done.stdout


def differences(shown: Any, real: Any, path: str = "answer") -> Iterator[str]:
    """Yield the differences between an answer as a page shows it and as the server gave it.

    Values may differ, but not their types, names or number.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        for name in shown.keys() - real.keys() - {LEFT_OUT}:
            yield f"{path} has no {name}"
        for name in real.keys() - shown.keys() if LEFT_OUT not in shown else ():
            yield f"{path}.{name} is not shown"
        for name in shown.keys() & real.keys():
            yield from differences(shown[name], real[name], f"{path}.{name}")
    elif isinstance(shown, list) and isinstance(real, list):
        items = [item for item in shown if item != LEFT_OUT]
        if len(items) != len(real) and (LEFT_OUT not in shown or len(items) > len(real)):
            yield f"{path} has {len(real)} elements"
        for item in items if real else ():
            yield from differences(item, counterpart(item, real), f"{path}[]")
    elif shown is not None and real is not None and kind_of(shown) is not kind_of(real):
        yield f"{path} is {real!r}"


def counterpart(item: Any, real: list[Any]) -> Any:
    """Return the element with the same name as an element that is shown, or the first one."""
    names = [name for name in ("name", "table") if isinstance(item, dict) and name in item]
    return next((one for one in real for name in names if one.get(name) == item[name]), real[0])


def kind_of(value: Any) -> type:
    """Return the type of a JSON value; all numbers have one type."""
    return float if type(value) is int else type(value)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.stem)
def test_commands_run(page: Path, filled: Filled, tmp_path: Path) -> None:
    """Every block of a page works in the order of the page."""
    needed = {"curl", "git"} if page == API else {"bash"}
    missing = {program for program in needed if not shutil.which(program)}
    assert not missing, f"install {', '.join(sorted(missing))}: the commands of {page.name} need it"
    with ExitStack() as stack:
        reader = Reader(tmp_path, filled, stack)
        for block in steps(page):
            reader.follow(block)


def test_metrics_are_documented() -> None:
    """The page of the API names exactly the metrics that the server has."""
    named = set(re.findall(r'"(keylake_\w+)"', (ROOT / "serve" / "metrics.py").read_text("utf-8")))
    assert named == set(re.findall(r"^\| `(keylake_\w+)`", API.read_text("utf-8"), re.MULTILINE))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that a page's headings get on GitHub."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_links_resolve(page: Path) -> None:
    """Each relative link, image and anchor of a page leads somewhere."""
    broken = []
    for target in LINK.findall(INLINE_CODE.sub("", prose(page))):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_exist(page: Path) -> None:
    """A page names files of the project by their present names."""
    names = {name for name in FILE.findall(prose(page)) if EXAMPLE not in name}
    assert not {name for name in names if not (ROOT / name).exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_exist(page: Path) -> None:
    """A page names settings by variables that the configuration knows."""
    names = set(re.findall(rf"\b{PREFIX}[A-Z]+_[A-Z_]+[A-Z]\b", page.read_text("utf-8")))
    kinds = {name: type(section) for name, section in read_config({}).sections.items()}
    read_overrides(dict.fromkeys(names, "1"), kinds)


def test_readme_is_one_screen() -> None:
    """The README has 120 lines at most, sentences of 30 words at most, and one light picture."""
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose(README))
    paragraphs = re.split(r"\n\s*\n|\n(?=[-|#])|\|", text)
    sentences = [part for paragraph in paragraphs for part in re.split(r"(?<=[.!?:;])\s", paragraph)]
    assert not [sentence for sentence in sentences if len(sentence.split()) > MOST_WORDS]
    pictures = [README.parent / name for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose(README))]
    assert len(pictures) == 1
    assert all(picture.stat().st_size < MOST_BYTES for picture in pictures)


def test_readme_has_the_commands_that_are_run_for_each_change() -> None:
    """The demo and the tests start with one line each, in the form that ``.ci/run`` looks for."""
    text = README.read_text("utf-8")
    for recipe in ("demo", "test"):
        assert len(re.findall(rf"^python3 .*just {recipe}$", text, re.MULTILINE)) == 1


def test_every_recipe_is_documented() -> None:
    """Each recipe of the justfile is named on a page."""
    just = [str(BIN / "just"), "--justfile", str(ROOT / "justfile"), "--summary"]
    recipes = subprocess.run(just, capture_output=True, text=True, check=True).stdout.split()
    text = "".join(page.read_text("utf-8") for page in ALL_PAGES)
    assert recipes
    assert not [name for name in recipes if not re.search(rf"`just {re.escape(name)}[` ]", text)]


def test_every_route_and_parameter_is_documented(lake: Lake) -> None:
    """Each route of the OpenAPI description has a section with an answer and each of its parameters."""
    with server(environ_of(lake)) as base, urlopen(f"{base}/schema/openapi.json", timeout=60) as response:
        schema = json.load(response)
    sections = dict(re.findall(r"^### GET (\S+)\n(.*?)(?=^##|\Z)", API.read_text("utf-8"), re.M | re.S))
    assert sections.keys() == schema["paths"].keys()
    for path, operations in schema["paths"].items():
        assert "```json" in sections[path], path
        for parameter in operations["get"].get("parameters", ()):
            # A column as a parameter has no name of its own.
            if parameter["in"] == "query" and parameter["name"] != "columns":
                assert f"`{parameter['name']}`" in sections[path], (path, parameter["name"])


def test_a_wrong_answer_on_a_page_is_noticed() -> None:
    """The comparison reports a missing name, an additional one, another type and another number."""
    real = {"release": 3, "rows": [{"date": "2024-09-15", "revenue": 1.5}], "kind": "sync"}
    assert not [*differences({"release": 13, "rows": [{"date": "x", "revenue": 2}], "kind": "full"}, real)]
    assert not [*differences({"release": 13, "rows": [LEFT_OUT], LEFT_OUT: LEFT_OUT}, real)]
    wrong: list[tuple[Any, str]] = [
        ({"release": 13, "rows": [LEFT_OUT]}, "answer.kind is not shown"),
        ({"total": 1, LEFT_OUT: LEFT_OUT}, "answer has no total"),
        ({"release": "13", LEFT_OUT: LEFT_OUT}, "answer.release is 3"),
        ({"rows": [], LEFT_OUT: LEFT_OUT}, "answer.rows has 1 elements"),
        ({"rows": [{"date": "x"}], LEFT_OUT: LEFT_OUT}, "answer.rows[].revenue is not shown"),
    ]
    for shown, problem in wrong:
        assert [*differences(shown, real)] == [problem]
