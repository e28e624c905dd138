"""Model tests: ``tests/models/<layer>/<model>.toml`` holds cases of rows given and rows expected.

``given`` has a table of text for every table that matters: bronze, or a model's own
in place of what its SQL would build. Tables not given are empty, models not given are
built from what is. ``rules`` says what differs from the shop's own. Only the columns
that ``expect`` names are compared, but all rows.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from lake.query.session import connect, fetch
from lake.settings import LakeSettings
from tests.support.text_tables import make_given, parse, plain, value_of
from transform.models import Model, read_models
from transform.settings import RulesSettings
from transform.workspace import build_model

MODELS = read_models()
ENGINE = LakeSettings(memory_limit="256MB", threads=2)


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: its name states the fact."""

    name: str
    given: dict[str, str]
    expect: str
    rules: RulesSettings = RulesSettings()


class Cases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of cases."""

    case: list[Case]


class OtherRows(AssertionError):
    """The model gave other rows than the case expects."""


class CaseFile(pytest.File):
    """A model's cases."""

    def collect(self) -> Iterator["CaseItem"]:
        """Yield one test for each case."""
        name = f"{self.path.parent.name}.{self.path.stem}"
        model = next(model for model in MODELS if model.name == name)
        for case in msgspec.convert(tomllib.loads(self.path.read_text("utf-8")), Cases).case:
            item: CaseItem = CaseItem.from_parent(self, name=case.name)
            item.model, item.case = model, case
            yield item


class CaseItem(pytest.Item):
    """One case of one model."""

    model: Model
    case: Case

    def runtest(self) -> None:
        """Build the model from what is given and compare."""
        run(self.model, self.case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Return the rows that differ; a traceback only for what is no difference of rows."""
        if isinstance(excinfo.value, OtherRows):
            return str(excinfo.value)
        return str(excinfo.getrepr(style="short"))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the case is and what it is called."""
        return self.path, 0, f"{self.model.name}: {self.case.name}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """Collect the files of cases."""
    if file_path.suffix != ".toml":
        return None
    found: CaseFile = CaseFile.from_parent(parent, path=file_path)
    return found


def run(model: Model, case: Case) -> None:
    """Build the model in a fresh DuckDB. Raises OtherRows."""
    connection = connect(ENGINE)
    make_given(connection, case.given, case.rules, MODELS)
    for one in needed(model, case.given):
        build_model(connection, one)
    columns, lines = parse(case.expect)
    schema = model.header.contract.schema
    expected = Counter(
        plain({name: value_of(schema.field(name), cells[name]) for name in columns}) for cells in lines
    )
    rows = fetch(connection, f"select {', '.join(columns)} from {model.name}").to_pylist()
    found = Counter(map(plain, rows))
    if found != expected:
        missing, extra = shown(expected - found), shown(found - expected)
        raise OtherRows(f"{' | '.join(columns)}\nexpected, not there:{missing}\nthere, not expected:{extra}")


def needed(model: Model, given: Iterable[str]) -> list[Model]:
    """Return the model and those it needs that are not given, in the order to build them."""
    wanted = {model.name}
    for one in reversed(MODELS):
        if one.name in wanted:
            wanted |= one.reads - set(given)
    return [one for one in MODELS if one.name in wanted]


def shown(rows: Counter[tuple[str, ...]]) -> str:
    """Return the rows as lines of text."""
    return "".join("\n  " + " | ".join(row) for row in sorted(rows.elements())) or " nothing"
