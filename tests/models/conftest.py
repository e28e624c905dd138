"""Model tests: ``tests/models/<layer>/<model>.toml`` holds cases of given and expected rows.

``given`` has a text table for every table that matters: a bronze table, or a model's table in place
of the result of its SQL. Other tables are empty, and other models are built from the given rows.
``rules`` are the differences from the default rules. Only the columns in ``expect`` are compared,
but all rows are.
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
    """One case; its name states the fact."""

    name: str
    given: dict[str, str]
    expect: str
    rules: RulesSettings = RulesSettings()


class Cases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cases of one file."""

    case: list[Case]


class OtherRows(AssertionError):
    """The model's rows differ from the expected rows."""


class CaseFile(pytest.File):
    """The cases of one model."""

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
        """Build the model from the given rows and compare."""
        run(self.model, self.case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Return the rows that differ; for any other error, return a traceback."""
        if isinstance(excinfo.value, OtherRows | ValueError):
            return str(excinfo.value)
        return str(excinfo.getrepr(style="short"))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the file, the line and the name of the case."""
        return self.path, 0, f"{self.model.name}: {self.case.name}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """Collect files of cases."""
    if file_path.suffix != ".toml":
        return None
    found: CaseFile = CaseFile.from_parent(parent, path=file_path)
    return found


def run(model: Model, case: Case) -> None:
    """Build the model in a new DuckDB and compare its rows. Raises OtherRows."""
    connection = connect(ENGINE)
    make_given(connection, case.given, case.rules, MODELS)
    for one in models_to_build(model, case.given):
        build_model(connection, one)
    columns, lines = parse(case.expect)
    schema = model.header.contract.schema
    if unknown := [name for name in columns if name not in schema.names]:
        raise OtherRows(f"expect {unknown[0]}: no such column; the columns are {', '.join(schema.names)}")
    expected = Counter(
        plain({name: value_of(schema.field(name), cells[name]) for name in columns}) for cells in lines
    )
    rows = fetch(connection, f"select {', '.join(columns)} from {model.name}").to_pylist()
    found = Counter(map(plain, rows))
    if found != expected:
        missing, extra = row_lines(expected - found), row_lines(found - expected)
        raise OtherRows(f"{' | '.join(columns)}\nexpected, not there:{missing}\nthere, not expected:{extra}")


def models_to_build(model: Model, given: Iterable[str]) -> list[Model]:
    """Return the model and those of its inputs that are not given, in build order."""
    wanted = {model.name}
    for one in reversed(MODELS):
        if one.name in wanted:
            wanted |= one.reads - set(given)
    return [one for one in MODELS if one.name in wanted]


def row_lines(rows: Counter[tuple[str, ...]]) -> str:
    """Return the rows as lines of text."""
    return "".join("\n  " + " | ".join(row) for row in sorted(rows.elements())) or " nothing"
