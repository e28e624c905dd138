"""A model's TOML header: grain, contract, checks, how it is rebuilt. Pure."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract
from lake.errors import ContractBroken, ModelError
from lake.messages import in_words
from lake.query.quote import is_word

COMMENT = re.compile(r"\A\s*/\*(.*?)\*/\s*(.*)\Z", re.DOTALL)
# What a column means stands behind it, as a remark to the reader of the file.
NOTE = re.compile(r'^\s*(\w+)\s*=\s*"[^"]*"\s*#\s*(.+?)\s*$', re.MULTILINE)
DATE = pa.date32()
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model's first comment says.

    ``month`` names the date that a row is of, by whose month the table is partitioned;
    ``partition`` does so for a table whose rows are of no day, to keep what is written
    small: by months, or by weeks from Monday (``width``). ``about`` is what the first key
    column is the id of, where the table's name does not say it. ``money`` names the column
    whose sum is shown when a release moves. ``checks`` are true for every row; ``notes`` say
    what columns mean, from the remarks behind them.
    """

    grain: Text
    columns: dict[str, str]
    rebuild: Literal["by key", "by month", "whole"]
    key: tuple[str, ...]
    month: str | None = None
    partition: str | None = None
    width: Literal["month", "week"] = "month"
    about: str | None = None
    money: str | None = None
    checks: dict[str, Text] = {}
    notes: dict[str, str] = {}

    @property
    def contract(self) -> Contract:
        """The columns as the stored table has them: that of the partition, if any, at the end."""
        partition = {self.part: "DATE"} if self.part else {}
        return Contract.of({**self.columns, **partition}, self.key)

    @property
    def parted_by(self) -> str | None:
        """The date by whose month, or week, the table is partitioned."""
        return self.month or self.partition

    @property
    def part(self) -> str | None:
        """The column that the table is partitioned by: the first day of a month, or of a week."""
        return self.width if self.parted_by else None


class CheckHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a check's first comment says: the fact that holds, and what happens when it doesn't.

    It ``looks`` at what was built anew, or ``everywhere`` where a fact of all history could not
    be told from a part: a buyer's first purchase, say.
    """

    fact: Text
    severity: Literal["error", "warn"] = "error"
    looks: Literal["at the new", "everywhere"] = "at the new"


def read_header(text: str, name: str) -> tuple[Header, str]:
    """Return a model's header and its SQL. Raises ModelError."""
    comment, sql = apart(text, name, "model")
    values: dict[str, Any] = {}
    try:
        values = tomllib.loads(comment)
        if "notes" in values:
            raise ValueError("notes are the remarks behind the columns; write none of your own")
        header = msgspec.convert({**values, "notes": notes(comment)}, Header)
        found = fault(header)
    except (ContractBroken, ValueError) as error:
        found = in_words(error, Header, values, hidden="notes")
    if found:
        raise ModelError(f"{name}: the header can't be used: {found}")
    return header, sql


def notes(comment: str) -> dict[str, str]:
    """Return what is remarked behind the columns."""
    columns = comment.partition("[columns]")[2].partition("\n[")[0]
    return dict(NOTE.findall(columns))


def fault(header: Header) -> str | None:
    """Return what in a header does not fit together; None for nothing. Raises ContractBroken."""
    if found := fault_of_columns(header.columns):
        return found
    types = {field.name: field.type for field in header.contract.schema}
    named = [*header.key, *filter(None, (header.month, header.partition, header.money))]
    if unknown := [column for column in named if column not in header.columns]:
        return f"it names {unknown[0]}, which is none of its columns"
    if twice := [column for column, times in Counter(header.key).items() if times > 1]:
        return f"key names {twice[0]} twice"
    if not header.key:
        return "key is empty: which columns name a row?"
    if header.month and header.partition:
        return "month and partition: one of them says by which date the table is parted"
    taken = {column.lower() for column in header.columns}
    if header.parted_by and (types[header.parted_by] != DATE or header.part in taken):
        return f"month is {header.parted_by}: name a DATE, and no column of your own {header.part}"
    if header.width == "week" and not header.partition:
        return "width is week: that is for a partition, what is of a day is parted by month"
    if header.money and not pa.types.is_decimal(types[header.money]):
        return f"money is {header.money}, which is no DECIMAL"
    if header.rebuild == "by month" and not header.month:
        return "it is rebuilt by month, and month does not say by which date"
    return None


def fault_of_columns(columns: Mapping[str, str]) -> str | None:
    """Return what is wrong with the names or the decimals of columns; None for nothing."""
    for name, kind in columns.items():
        if not is_word(name):
            return f"column {name!r}: rename it: letters, digits, _ and no word of SQL's"
        if same := [other for other in columns if other != name and other.lower() == name.lower()]:
            return (
                f"columns {name} and {same[0]} differ only in case, which SQL doesn't tell apart; rename one"
            )
        if (found := re.match(r"DECIMAL\((\d+),\s*(\d+)\)", kind)) and int(found[2]) > int(found[1]):
            return f"column {name}: {kind} has more digits behind the point than in all"
    return None


def read_check_header(text: str, name: str) -> tuple[CheckHeader, str]:
    """Return a check's header and its SQL. Raises ModelError."""
    comment, sql = apart(text, name, "check")
    try:
        return msgspec.convert(tomllib.loads(comment), CheckHeader), sql
    except ValueError as error:
        raise ModelError(f"{name}: the header can't be used: {in_words(error, CheckHeader)}") from None


def apart(text: str, name: str, kind: str) -> tuple[str, str]:
    """Return the first comment of a model or check, and what follows."""
    match = COMMENT.match(text)
    if not match:
        raise ModelError(f"{name}: a {kind} begins with /* its header in TOML */")
    return match[1], match[2].strip().rstrip(";")
