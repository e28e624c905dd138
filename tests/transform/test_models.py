"""Models: a folder of SQL files that is valid as a whole, or refused in one line."""

from pathlib import Path

import msgspec
import pytest

from lake.errors import ModelError
from transform.models import HERE, Check, hash_of, read_models

HEADER = '/* grain = "g"\nkey = ["id"]\nrebuild = "whole"\ncolumns = { id = "BIGINT" } */\n'
CASES = Path(__file__).parent.parent / "models"


def folder(place: Path, **files: str) -> Path:
    """Write models given as ``silver__a="select …"``; a check is ``silver__a__is_fine``."""
    for name, sql in files.items():
        layer, *parts = name.split("__")
        ending = ".check.sql" if len(parts) > 1 else ".sql"
        header = '/* fact = "f" */\n' if len(parts) > 1 else HEADER
        (place / layer).mkdir(exist_ok=True)
        (place / layer / (".".join(parts) + ending)).write_text(header + sql, "utf-8")
    return place


def test_each_file_is_a_table_in_build_order(tmp_path: Path) -> None:
    """Each model has the checks from the files next to it."""
    models = read_models(
        folder(
            tmp_path,
            gold__a="select id from silver.z",
            silver__z="select id from silver.b join rules.r using (id)",
            silver__b="select id from bronze.b",
            silver__b__is_fine="select id from silver.b where false",
            silver__b_more="select 1::bigint as id",
        )
    )
    names = [model.name for model in models]
    assert sorted(names) == ["gold.a", "silver.b", "silver.b_more", "silver.z"]
    assert names.index("silver.b") < names.index("silver.z") < names.index("gold.a")
    checks = {model.name: [check.name for check in model.checks] for model in models}
    assert checks == {"silver.b": ["is_fine"], "silver.b_more": [], "silver.z": [], "gold.a": []}
    assert {model.name: model.reads for model in models}["silver.z"] == {"silver.b", "rules.r"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"silver__a": "select id from gold.b", "gold__b": "select id from silver.a"}, "in a cycle: "),
        ({"silver__a": "select id from silver.a"}, r"in a cycle: silver\.a -> silver\.a"),
        (
            {"silver__a": "select id from silver.orderz"},
            r"silver\.a: it reads silver\.orderz, which no model",
        ),
        (
            {"gold__a": "select release from ops.releases"},
            r"it reads ops\.releases; models read only bronze, rules",
        ),
        ({"gold__a": "select id from gold.b"}, r"gold\.a: it reads gold\.b, which no model builds"),
        ({"silver__a": "select ("}, r"silver\.a: the SQL can't be read"),
        (
            {"silver__a": "select 1", "silver__b__is_fine": "select 1"},
            r"silver/b\.is_fine\.check\.sql: no such",
        ),
        (
            {"silver__a": "select 1", "gold__a__is_fine": "select 1"},
            r"gold/a\.is_fine\.check\.sql: no such model",
        ),
    ],
)
def test_an_inconsistent_folder_is_reported_in_one_line(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    """A check without a model is refused, because it would never run."""
    with pytest.raises(ModelError, match=message) as refused:
        read_models(folder(tmp_path, **files))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["Revenue_Daily", "pay-ment", "pay ment", "1pay", "pay.ment"])
def test_a_wrong_file_name_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    """DuckDB ignores the case of names, so a view of one table could show another."""
    place = folder(tmp_path, gold__a="select 1::bigint as id")
    (place / "gold" / f"{name}.sql").write_text(HEADER + "select 1::bigint as id")
    with pytest.raises(ModelError, match=rf"lower-case letters, digits and _: rename {name}\.sql$"):
        read_models(place)


def test_other_files_are_ignored(tmp_path: Path) -> None:
    """Folders and hidden files of editors are ignored, and so is a byte order mark."""
    place = folder(tmp_path, gold__a="select 1::bigint as id", gold__a__is_fine="select 1")
    text = (place / "gold" / "a.sql").read_bytes()
    (place / "gold" / "a.sql").write_bytes(b"\xef\xbb\xbf" + text)
    (place / "gold" / "old.sql").mkdir()
    (place / "gold" / ".#a.sql").symlink_to("nobody@nowhere.1")
    (place / "gold" / ".b.check.sql").write_text("x")
    [model] = read_models(place)
    assert (model.name, [check.name for check in model.checks]) == ("gold.a", ["is_fine"])


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """The message names the file and the next step."""
    place = folder(tmp_path, gold__a="select 1::bigint as id")
    (place / "gold" / "b.sql").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"^gold\.b: b\.sql is not UTF-8; save it as UTF-8$"):
        read_models(place)


def test_a_changed_text_changes_the_hash(tmp_path: Path) -> None:
    """The hash depends on the SQL, the header and the checks of every model."""
    models = read_models(
        folder(tmp_path, silver__a="select 1::bigint as id", silver__b="select 2::bigint as id")
    )
    first, second = models
    header = msgspec.structs.replace(first.header, grain="another")
    check = Check("is_fine", first.name, "it is", "error", "select 1")
    others = [
        [second],
        [msgspec.structs.replace(first, sql="select 3"), second],
        [msgspec.structs.replace(first, header=header), second],
        [msgspec.structs.replace(first, checks=(check,)), second],
        [
            msgspec.structs.replace(first, checks=(msgspec.structs.replace(check, needs_all_rows=True),)),
            second,
        ],
    ]
    assert len({hash_of(models), *map(hash_of, others)}) == 6
    assert hash_of(models) == hash_of(read_models(tmp_path))


def test_every_model_of_the_project_has_cases() -> None:
    """There is a file of cases for each model, and none without a model."""
    cases = {f"{file.parent.name}.{file.stem}" for file in CASES.glob("*/*.toml")}
    assert cases == {model.name for model in read_models()}


def test_every_model_file_of_the_project_is_read() -> None:
    """No file is skipped because of its name."""
    files = {file for layer in ("silver", "gold") for file in (HERE / layer).iterdir()}
    models = read_models()
    assert len(files) == len(models) + sum(len(model.checks) for model in models)
