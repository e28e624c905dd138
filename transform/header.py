"""Header: the TOML comment of a model, with its grain, contract, checks and rebuild. Pure."""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract
from lake.errors import ContractBroken, ModelError
from lake.messages import in_words
from lake.query.quote import is_word

COMMENT = re.compile(r"\A\s*/\*(.*?)\*/\s*(.*)\Z", re.DOTALL)
# A column with the comment that describes it: name = "TYPE"  # description
NOTE = re.compile(r'^\s*(\w+)\s*=\s*"[^"]*"\s*#\s*(.+?)\s*$', re.MULTILINE)
DATE = pa.date32()
# Names of columns that are personal in every table, even if a header does not list them.
CONTACTS = frozenset(
    {
        "buyer_name",
        "full_name",
        "birthday",
        "phone",
        "phones",
        "email",
        "emails",
        "address",
        "note",
        "comment",
    }
)
Text = Annotated[str, msgspec.Meta(min_length=1)]
Types = Mapping[str, pa.DataType]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts that a model's first comment declares.

    ``month`` names the date column by whose month the table is partitioned. If rows have no
    such date, ``partition`` names another date column that keeps rewritten files small; its
    partitions are months, or weeks from Monday (``width``). ``about`` names the id in the first
    key column, if it does not follow from the table's name. The sum of the column ``money`` is
    shown when a release moves. ``personal`` are the columns that identify a buyer; an archive leaves
    them out. ``checks`` are conditions that are true for every row. ``notes``
    describe columns; they are read from the comments after the columns.
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
    personal: tuple[str, ...] = ()
    checks: dict[str, Text] = {}
    notes: dict[str, str] = {}

    @property
    def contract(self) -> Contract:
        """The columns of the stored table; the partition column, if there is one, is the last."""
        partition = {self.partition_column: "DATE"} if self.partition_column else {}
        return Contract.of({**self.columns, **partition}, self.key)

    @property
    def personal_columns(self) -> frozenset[str]:
        """The columns that identify a buyer: those listed, and those with a name of a contact."""
        return frozenset(self.personal) | CONTACTS & self.columns.keys()

    @property
    def partition_date(self) -> str | None:
        """The date column by whose month, or week, the table is partitioned."""
        return self.month or self.partition

    @property
    def partition_column(self) -> str | None:
        """The stored partition column; its values are the first days of months, or of weeks."""
        return self.width if self.partition_date else None


class CheckHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts that a check's first comment declares: what is true, and what a failure does.

    A check ``looks`` "at the new" if rebuilt rows decide it, and "everywhere" if only all of
    history does, for example for a buyer's first purchase.
    """

    fact: Text
    severity: Literal["error", "warn"] = "error"
    looks: Literal["at the new", "everywhere"] = "at the new"


def read_header(text: str, name: str) -> tuple[Header, str]:
    """Return a model's header and its SQL. Raises ModelError."""
    comment, sql = split_comment(text, name, "model")
    values: dict[str, Any] = {}
    try:
        values = tomllib.loads(comment)
        if "notes" in values:
            raise ValueError("notes come from the comments after the columns; remove the key notes")
        header = msgspec.convert({**values, "notes": column_notes(comment)}, Header)
        problem = fault(header)
    except (ContractBroken, ValueError) as error:
        problem = in_words(error, Header, values, hidden="notes")
    if problem:
        raise ModelError(f"{name}: the header can't be used: {problem}")
    return header, sql


def column_notes(comment: str) -> dict[str, str]:
    """Return the comments after the columns, by column."""
    columns = comment.partition("[columns]")[2].partition("\n[")[0]
    return dict(NOTE.findall(columns))


def fault(header: Header) -> str | None:
    """Return the first rule that a header breaks, or None. Raises ContractBroken."""
    if problem := fault_of_columns(header.columns):
        return problem
    types = {field.name: field.type for field in header.contract.schema}
    for condition, message in RULES:
        if cause := condition(header, types):
            return message.format(cause, header=header)
    return None


def unknown_column(header: Header, _: Types) -> str | None:
    """Return the first column that the header uses and does not declare."""
    dates = (header.month, header.partition)
    used = [*header.key, *header.personal, *filter(None, (*dates, header.money))]
    return next((column for column in used if column not in header.columns), None)


def repeated_key(header: Header, _: Types) -> str | None:
    """Return the first column that is in the key more than once."""
    return next((column for column, times in Counter(header.key).items() if times > 1), None)


def is_partition_impossible(header: Header, types: Types) -> bool:
    """Return True if the partition date is not a DATE, or if a column has the partition column's name."""
    if not header.partition_date:
        return False
    names = {column.lower() for column in header.columns}
    return types[header.partition_date] != DATE or header.partition_column in names


def is_money_not_decimal(header: Header, types: Types) -> bool:
    """Return True if the money column is not a DECIMAL."""
    return not pa.types.is_decimal(types[header.money]) if header.money else False


# Conditions that make a header invalid, in the order in which they are tried. A message may quote the
# result of its condition as {0}.
RULES: tuple[tuple[Callable[[Header, Types], object], str], ...] = (
    (unknown_column, "it names {0}, which is not one of its columns"),
    (repeated_key, "key names {0} twice"),
    (lambda header, _: not header.key, "key is empty: name the columns that identify a row"),
    (
        lambda header, _: header.month and header.partition,
        "month and partition are both set: keep the one whose date partitions the table",
    ),
    (
        is_partition_impossible,
        "the table is partitioned by {header.partition_date}: this must be a DATE,"
        " and no column may have the name {header.partition_column}",
    ),
    (
        lambda header, _: header.width == "week" and not header.partition,
        "width is week, which needs partition: a table with month is partitioned by month",
    ),
    (is_money_not_decimal, "money is {header.money}, which is not a DECIMAL"),
    (
        lambda header, _: header.rebuild == "by month" and not header.month,
        'rebuild is "by month", which needs month: name the date column',
    ),
)


def fault_of_columns(columns: Mapping[str, str]) -> str | None:
    """Return what is wrong with the names or the decimals of columns, or None."""
    for name, kind in columns.items():
        if not is_word(name):
            return f"column {name!r}: rename it: use letters, digits and _, and no SQL keyword"
        if same := [other for other in columns if other != name and other.lower() == name.lower()]:
            return f"columns {name} and {same[0]} differ only in case, which SQL ignores; rename one"
        if (digits := re.match(r"DECIMAL\((\d+),\s*(\d+)\)", kind)) and int(digits[2]) > int(digits[1]):
            return f"column {name}: {kind} has more decimal places than digits"
    return None


def read_check_header(text: str, name: str) -> tuple[CheckHeader, str]:
    """Return a check's header and its SQL. Raises ModelError."""
    comment, sql = split_comment(text, name, "check")
    try:
        return msgspec.convert(tomllib.loads(comment), CheckHeader), sql
    except ValueError as error:
        raise ModelError(f"{name}: the header can't be used: {in_words(error, CheckHeader)}") from None


def split_comment(text: str, name: str, kind: str) -> tuple[str, str]:
    """Return the first comment of a model or check, and the SQL after it. Raises ModelError."""
    match = COMMENT.match(text)
    if not match:
        raise ModelError(f"{name}: a {kind} begins with /* its header in TOML */")
    return match[1], match[2].strip().rstrip(";")
