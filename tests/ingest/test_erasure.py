"""Erasure: no file has the person any more, and every release has the same sums as before."""

import json
import multiprocessing
import random
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from ingest.erasure import other_cards, redactions_of
from ingest.erasure_commands import erase_buyer
from ingest.sandbox.command import ThreadedShop
from lake.backup.backup import back_up, restore
from lake.delta.files import ASIDE
from lake.delta.tables import open_table, table_exists
from lake.errors import UsageError
from lake.ledgers.runs import Run
from lake.maintenance.redaction import ERASURES, erase
from lake.paths import Lake
from lake.releases.release import current_release
from tests.support.built_lake import FEW, Shop, ingested_shop
from tests.support.shop_edits import versions

pytestmark = pytest.mark.slow

Ingest = Callable[..., Run]
NAME, PHONE, EMAIL, BIRTHDAY, STREET = (
    "Тетяна Приклад",
    "+380671112233",
    "t@example.com",
    "1990-01-02",
    "Лугова",
)
SECRETS = (NAME, PHONE, EMAIL, BIRTHDAY, STREET)
BUYER = 77
KILLS = 4
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["lake.maintenance.redaction"])


def order_json(number: int, total: str) -> str:
    """Return an order as the CRM sends it, with personal data in every field that may have it."""
    return json.dumps(
        {
            "id": number,
            "client_id": BUYER,
            "grand_total": total,
            "buyer": {"id": BUYER, "full_name": NAME, "phone": PHONE, "email": EMAIL},
            "shipping": {"recipient_full_name": NAME, "address": STREET},
            "buyer_comment": f"{STREET} 5",
            "manager_comment": f"call {PHONE}",
            "products": [{"price": 10, "comment": NAME, "offer": {"id": 70, "product_id": 7}}],
            "expenses": [{"id": 1, "description": NAME, "amount": 5}],
        },
        ensure_ascii=False,
    )


def sell(shop: Shop, number: int, total: str, moment: str, buyer: int = BUYER) -> None:
    """Add an order of the person."""
    shop.observe(
        "bronze.order_products",
        "order_id | position | product_id | price | comment | fetched_at\n"
        f"{number} | 1 | 7 | {total} | {NAME} | {moment}",
    )
    shop.observe(
        "bronze.expenses", f"order_id | position | id | description\n{number} | 1 | {number} | {NAME}"
    )
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | payload | fetched_at\n"
        f"{number} | 2026-06-20 10:00 | 4 | {buyer} | 12 | {total} | {order_json(number, total)} | {moment}",
    )


@pytest.fixture(scope="module")
def with_person(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with two releases that name the person, and a checkpoint in every log; read-only."""
    shop = ingested_shop(tmp_path_factory.mktemp("person") / "lake", models=FEW)
    card = json.dumps({"id": BUYER, "full_name": NAME, "phone": [PHONE], "note": STREET}, ensure_ascii=False)
    shop.observe(
        "bronze.buyers",
        "id | full_name | birthday | note | phone | email | payload\n"
        f'{BUYER} | {NAME} | {BIRTHDAY} | {STREET} | ["{PHONE}"] | ["{EMAIL}"] | {card}',
    )
    shop.observe(
        "bronze.rejected", f"entity | id | reason | payload\norders | 9 | odd | {order_json(9, 'x')}"
    )
    sell(shop, 201, "70.10", "2026-06-20 10:05")
    shop.publish()
    sell(shop, 202, "80.20", "2026-06-21 10:05")
    shop.publish()
    for layer in ("bronze", "silver"):
        for name in shop.lake.tables(layer):
            DeltaTable(shop.lake.uri(name)).create_checkpoint()
    return shop


@pytest.fixture
def few(with_person: Shop, tmp_path: Path) -> Shop:
    """A copy of the shop for one test."""
    return with_person.copy(tmp_path / "lake")


def everything(place: str) -> str:
    """Return all rows of all data files, current or not, and the text of all logs."""
    texts: list[str] = []
    for file in Path(place).rglob("*"):
        if file.suffix == ".json":
            texts.append(file.read_text("utf-8"))
        elif file.suffix == ".parquet":
            texts.append(str(pq.ParquetFile(file).read().to_pylist()))
    return "\n".join(texts)


def secrets_in(place: str) -> set[str]:
    """Return the personal data that can still be found."""
    text = everything(place)
    return {secret for secret in SECRETS if secret in text}


def sums(shop: Shop, release: int) -> dict[str, Any]:
    """Return a release's rows, without the tables that name people."""
    tables = shop.read(release)
    return {name: rows for name, rows in tables.items() if name not in ("silver.buyers", "silver.orders")}


def test_the_person_is_in_no_file_and_every_release_stays(few: Shop) -> None:
    """Old versions, change data, checkpoints and statistics are redacted; sizes and versions stay."""
    assert secrets_in(few.lake.place) == set(SECRETS)
    heads, before = few.heads(), {number: sums(few, number) for number in (1, 2)}
    current = current_release(few.lake)
    assert current
    erased = erase(few.lake, redactions_of(few.lake, BUYER))
    assert erased.rows > 8
    assert secrets_in(few.lake.place) == set()
    assert not (Path(few.lake.place) / ASIDE).exists()
    assert few.heads() == heads
    assert {number: sums(few, number) for number in (1, 2)} == before
    for name, version in current.tables.items():
        rows = open_table(few.lake, name, version).read()
        assert rows.num_rows == current.rows[name]
    orders = {row["id"]: row for row in open_table(few.lake, "silver.orders").read().to_pylist()}
    assert [orders[number]["buyer_name"] for number in (201, 202, 1)] == [None, None, "Оксана"]
    assert orders[201]["buyer_id"] == BUYER
    assert str(sum(row["grand_total"] for row in orders.values())) == str(current.money["silver.orders"])
    (buyer,) = [row for row in open_table(few.lake, "silver.buyers").read().to_pylist() if row["id"] == BUYER]
    assert (buyer["name"], buyer["phones"], buyer["emails"], buyer["birthday"]) == (None, [], [], None)


def test_a_build_after_it_finds_nothing_to_do(few: Shop, tmp_path: Path) -> None:
    """A build from redacted bronze equals silver, and new checkpoints do not bring the person back."""
    erase(few.lake, redactions_of(few.lake, BUYER))
    assert few.build() is None
    assert few.build(full=True) is None
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()
    for layer in ("bronze", "silver"):
        for name in few.lake.tables(layer):
            DeltaTable(few.lake.uri(name)).create_checkpoint()
            DeltaTable(few.lake.uri(name)).optimize.compact()
    assert secrets_in(few.lake.place) == set()
    sell(few, 203, "90.30", "2026-06-22 10:05", buyer=31)
    assert few.publish().release == 3


@pytest.mark.usefixtures("loaded")
def test_an_unchanged_crm_does_not_bring_the_person_back(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """The content hash stays, so if the CRM shows the same content, it is no new state."""
    ingest("sweep")
    orders = open_table(lake, "bronze.orders").read(["buyer_id"])["buyer_id"].drop_null().to_pylist()
    buyer = max(set(orders), key=orders.count)
    (card,) = [row for row in open_table(lake, "bronze.buyers").read().to_pylist() if row["id"] == buyer]
    secrets = [card["full_name"], *card["phone"], *card["email"]]
    text = everything(lake.place)
    assert all(secret in text for secret in secrets)
    for each in (buyer, *other_cards(lake, buyer)):
        erase(lake, redactions_of(lake, each))
    before = versions(lake)
    for kind in ("full", "incremental", "sweep"):
        assert ingest(kind).appended == {}
    assert versions(lake) == before
    text = everything(lake.place)
    assert not any(secret in text for secret in (*card["phone"], *card["email"]))


def test_erasing_again_or_an_unknown_buyer_writes_nothing(few: Shop) -> None:
    """If there is nothing to erase, no file is written."""
    assert erase(few.lake, redactions_of(few.lake, 123456)).files == 0
    assert secrets_in(few.lake.place) == set(SECRETS)
    erase(few.lake, redactions_of(few.lake, BUYER))
    again = erase(few.lake, redactions_of(few.lake, BUYER))
    assert (again.rows, again.files) == (0, 0)


def test_the_command_erases_backups_and_logs_no_person(
    few: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup identifies files by name and size; a lake restored from it has no personal data either."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.place)
    place = str(tmp_path / "backup")
    back_up(few.lake, place, now=datetime(2026, 8, 1, tzinfo=UTC))
    done = CliRunner().invoke(erase_buyer, [str(BUYER), "--backup", place], catch_exceptions=False)
    assert done.exit_code == 0
    assert "rows of" in done.stdout
    assert "still name the person" not in done.stdout
    assert secrets_in(place) == secrets_in(few.lake.place) == set()
    (row,) = open_table(few.lake, ERASURES).read().to_pylist()
    assert row.keys() == {"erased_at", "rows", "files"}
    assert row["rows"] > 0
    assert not table_exists(Lake(root=place), ERASURES)
    back_up(few.lake, place, now=datetime(2026, 8, 2, tzinfo=UTC))
    restore(place, Lake(root=str(tmp_path / "restored")))
    assert Shop(Lake(root=str(tmp_path / "restored")), FEW).read() == few.read()


def test_a_folder_without_a_backup_is_refused_before_anything_is_erased(
    few: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the place is mistyped, the operator must not believe that the backup was erased."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.place)
    with pytest.raises(UsageError, match="has no finished backup"):
        erase_buyer.main([str(BUYER), "--backup", str(tmp_path / "backpu")], standalone_mode=False)
    assert secrets_in(few.lake.place) == set(SECRETS)


def test_the_backup_of_another_shop_is_refused_before_anything_is_erased(
    few: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another shop the number is another person's."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.place)
    other, place = few.rebuilt_copy(tmp_path / "other"), str(tmp_path / "backup")
    back_up(other.lake, place, now=datetime(2026, 8, 1, tzinfo=UTC))
    for root in (few.lake.place, str(tmp_path / "nothing")):
        monkeypatch.setenv("KEYLAKE_LAKE_ROOT", root)
        with pytest.raises(UsageError, match="holds the backup of another lake"):
            erase_buyer.main([str(BUYER), "--backup", place], standalone_mode=False)
    assert secrets_in(few.lake.place) == secrets_in(place) == set(SECRETS)


def test_without_its_backups_it_names_the_option(few: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a backup is not erased, restoring it brings the person back."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.place)
    done = CliRunner().invoke(erase_buyer, [str(BUYER)], catch_exceptions=False)
    assert done.stdout.splitlines()[1:] == [
        "backups of the lake still name the person; `--backup PLACE` erases there too"
    ]


def test_other_cards_of_the_person_are_named(few: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one phone is on two cards, the other card stays, and the operator gets its id in time."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.place)
    few.observe("bronze.buyers", f'id | full_name | phone | email\n78 | {NAME} | ["{PHONE}"] | []')
    assert other_cards(few.lake, BUYER) == {78}
    done = CliRunner().invoke(erase_buyer, [str(BUYER)], catch_exceptions=False)
    assert done.stdout.endswith("until they are erased too: 78\n")
    assert PHONE in everything(few.lake.place)
    done = CliRunner().invoke(erase_buyer, ["78"], catch_exceptions=False)
    assert "other cards" not in done.stdout
    assert secrets_in(few.lake.place) == set()
    done = CliRunner().invoke(erase_buyer, ["79"], catch_exceptions=False)
    assert "no row names buyer 79" in done.stdout


def test_after_a_kill_every_release_opens_and_the_next_erasure_finishes(
    with_person: Shop, tmp_path: Path
) -> None:
    """Each file is replaced atomically."""
    chance = random.Random(3)
    before = {number: sums(with_person, number) for number in (1, 2)}
    undisturbed = with_person.copy(tmp_path / "undisturbed").lake
    files = {path: path.stat().st_ino for path in Path(undisturbed.place).rglob("*") if path.is_file()}
    erase_one(undisturbed.place)
    written = sorted(
        path.relative_to(undisturbed.place) for path in files if path.stat().st_ino != files[path]
    )
    killed = 0
    for number in range(KILLS):
        shop = with_person.copy(tmp_path / f"lake{number}")
        redactions = redactions_of(shop.lake, BUYER)
        awaited = Path(shop.lake.place) / chance.choice(written)
        inode = awaited.stat().st_ino
        child = CHILDREN.Process(target=erase_one, args=(shop.lake.place,))
        child.start()
        while awaited.stat().st_ino == inode and child.is_alive():
            pass
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        assert {release: sums(shop, release) for release in (1, 2)} == before
        erase(shop.lake, redactions)
        assert secrets_in(shop.lake.place) == set()
        shutil.rmtree(shop.lake.place)
    assert killed > 0


def erase_one(place: str) -> None:
    """Erase the person in a process of its own."""
    lake = Lake(root=place)
    erase(lake, redactions_of(lake, BUYER))
