"""Header: the facts that a model declares, and one line for each fault in them."""

import pytest

from lake.errors import ModelError
from transform.header import CheckHeader, read_check_header, read_header

GOOD = """
grain = "one row per thing"
key = ["id"]
rebuild = "by month"
month = "day"
money = "total"

[columns]
id = "BIGINT"
day = "DATE"                           # a remark
total = "DECIMAL(18,2)"
note = "VARCHAR?"

[checks]
total_is_not_negative = "total >= 0"
"""


def text_of(header: str) -> str:
    """Return a model's text with the header."""
    return f"/*{header}*/\nselect 1;\n"


def test_a_header_declares_grain_contract_checks_and_rebuild() -> None:
    """The stored table has the month as its last column, for its partitions."""
    header, sql = read_header(text_of(GOOD), "silver.things")
    assert sql == "select 1"
    assert (header.grain, header.key, header.rebuild) == ("one row per thing", ("id",), "by month")
    assert header.checks == {"total_is_not_negative": "total >= 0"}
    assert header.contract.schema.names == ["id", "day", "total", "note", "month"]
    assert [column.nullable for column in header.contract.columns] == [False, False, False, True, False]


def test_optional_keys_may_be_missing() -> None:
    """Without month, money and checks the header is valid, and there is no month column."""
    text = '/* grain = "g"\nkey = ["id"]\nrebuild = "whole"\ncolumns = { id = "BIGINT" } */ select 1 as id'
    header, sql = read_header(text, "silver.things")
    assert (header.month, header.money, header.checks, sql) == (None, None, {}, "select 1 as id")
    assert header.contract.schema.names == ["id"]


def test_a_table_may_have_weekly_partitions() -> None:
    """Weekly partitions keep the files small of a table in which a few rows change all day."""
    text = GOOD.replace('month = "day"', 'partition = "day"\nwidth = "week"').replace(
        '"by month"', '"by key"'
    )
    header, _ = read_header(text_of(text), "silver.things")
    assert (header.partition_column, header.partition_date, header.contract.schema.names[-1]) == (
        "week",
        "day",
        "week",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("grain = ", "grian = ", "grian is not a key here; the keys are grain, columns, .*checks$"),
        ('grain = "one row per thing"\n', "", "grain is missing"),
        ("grain = ", 'notes = { id = "x" }\ngrain = ', "notes come from the comments after the columns"),
        ('key = ["id"]', 'key = "id"', r"key: a list in \[ \] is expected, found a text$"),
        ('key = ["id"]', "key = []", "key is empty"),
        ('key = ["id"]', 'key = ["id", "nothing"]', "it names nothing, which is not one of its columns"),
        ('"by month"', '"daily"', "rebuild: 'daily' is not known; write one of 'by key'"),
        ('month = "day"\n', "", 'rebuild is "by month", which needs month'),
        ('month = "day"', 'month = "dya"', "it names dya"),
        ('month = "day"', 'month = "note"', "partitioned by note: this must be a DATE"),
        ('note = "VARCHAR?"', 'month = "DATE"', "no column may have the name month"),
        ('month = "day"', 'month = "day"\nwidth = "week"', "width is week, which needs partition"),
        ('month = "day"', 'month = "day"\nwidth = "year"', "one of 'month', 'week'"),
        ('money = "total"', 'money = "sum"', "it names sum"),
        ('money = "total"', 'money = "id"', "money is id, which is not a DECIMAL"),
        ('id = "BIGINT"', 'id = "NUMBER"', "NUMBER: not a contract type"),
        ("DECIMAL(18,2)", "DECIMAL(99,2)", "precision"),
        ('id = "BIGINT"', "id = BIGINT", "Invalid value"),
        ('id = "BIGINT"', "id = 5", "columns.id: a text is expected, found a whole number$"),
        ('id = "BIGINT"', 'id = "BIGINT"\nid = "DATE"', r"a key or table is defined twice \(at line 10"),
        ('id = "BIGINT"', 'id = "BIGINT"\nID = "DATE"', "columns id and ID differ only in case"),
        (
            'id = "BIGINT"',
            'id = "BIGINT"\nMonth = "DATE"',
            "partitioned by day: this must be a DATE, and no column may have the name month",
        ),
        ('id = "BIGINT"', 'id = "BIGINT"\n"" = "DATE"', "column '': rename it: use letters"),
        ('id = "BIGINT"', 'id = "BIGINT"\n"a b" = "DATE"', "column 'a b': rename it: use letters"),
        ('id = "BIGINT"', 'id = "BIGINT"\norder = "DATE"', "column 'order': rename it: .* no SQL keyword"),
        ('key = ["id"]', 'key = ["id", "day", "day"]', "key names day twice$"),
        (
            "DECIMAL(18,2)",
            "DECIMAL(5,7)",
            r"column total: DECIMAL\(5,7\) has more decimal places than digits",
        ),
        ('"total >= 0"', '""', "checks.total_is_not_negative: it is empty$"),
        ('"one row per thing"', '""', "grain: it is empty$"),
        ('"total >= 0"', "true", "checks.total_is_not_negative: a text is expected, found true or false$"),
        ('rebuild = "by month"', 'rebuild = "by day"', "one of 'by key', 'by month', 'whole'"),
        ("[columns]", "[colums]", "colums is not a key here|columns is missing"),
    ],
)
def test_a_wrong_header_is_one_line(old: str, new: str, message: str) -> None:
    """The message names the model and the fault."""
    assert GOOD.count(old) == 1
    with pytest.raises(ModelError, match=message) as refused:
        read_header(text_of(GOOD.replace(old, new)), "silver.things")
    assert str(refused.value).startswith("silver.things: the header can't be used: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["select 1", "-- grain\nselect 1", "/* grain = 'x'\nselect 1", ""])
def test_a_model_without_a_header_is_refused(text: str) -> None:
    """A model starts with a comment, and the comment ends."""
    with pytest.raises(ModelError, match=r"^silver\.things: a model begins with /\* its header"):
        read_header(text, "silver.things")
    with pytest.raises(ModelError, match=r"^silver\.things\.hold: a check begins with /\* its header"):
        read_check_header(text, "silver.things.hold")


def test_a_check_header_declares_fact_and_severity() -> None:
    """The default severity is error."""
    assert read_check_header('/* fact = "f" */ select 1', "c") == (CheckHeader("f"), "select 1")
    warn = '/* fact = "f"\nseverity = "warn" */ select 1'
    assert read_check_header(warn, "c")[0] == CheckHeader("f", "warn")


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ('severity = "warn"', "fact is missing"),
        ('fact = "f"\nseverity = "info"', "severity: 'info' is not known; write one of 'error', 'warn'$"),
        ('fact = "f"\nlevel = 1', "level is not a key here; the keys are fact, severity, looks$"),
        ("fact = f", "Invalid value"),
        ('fact = ""', "fact: it is empty$"),
    ],
)
def test_a_wrong_check_header_is_one_line(comment: str, message: str) -> None:
    """The message names the check."""
    with pytest.raises(ModelError, match=message) as refused:
        read_check_header(f"/* {comment} */ select 1", "silver.things.are_fine")
    assert str(refused.value).startswith("silver.things.are_fine: the header can't be used: ")
