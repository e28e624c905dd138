"""The command ``erase-buyer``."""

from datetime import UTC, datetime

import click

from ingest.entities import BUYERS
from ingest.erasure import other_cards, redactions_of
from lake.backup.backup import read_manifest, refuse_stranger
from lake.cli.main import open_lake
from lake.delta.table import open_table
from lake.maintenance.erasure import Erased, erase, record
from lake.paths import Lake


@click.command("erase-buyer")
@click.argument("buyer", type=click.IntRange(1, 2**62))
@click.option("--backup", "backups", multiple=True, help="A backup of the lake to erase the buyer from too.")
def erase_buyer(buyer: int, backups: tuple[str, ...]) -> None:
    """Remove the person behind a buyer's ID from every file of the lake; orders and sums stay.

    Erase the person in the CRM first, or the next change there brings the name back.
    """
    _, place = open_lake()
    for root in backups:
        # Both raise UsageError, before anything is erased: no backup is there, or another shop's.
        read_manifest(root)
        refuse_stranger(place, Lake(root=root))
    open_table(place, BUYERS.table)  # raises TableMissing where no lake is
    others = other_cards(place, buyer)
    rows = files = 0
    for root in (*backups, place.place):
        lake = Lake(root=root)
        erased = erase(lake, redactions_of(lake, buyer))
        rows, files = rows + erased.rows, files + erased.files
        if erased.rows:
            print(f"{lake.place}: {erased.rows} rows of {erased.files} files no longer say who it was")
        else:
            print(f"{lake.place}: no row says who buyer {buyer} is: erased before, or no such buyer")
    record(place, Erased(rows, files), at=datetime.now(UTC))
    if not backups:
        print("backups of the lake hold the person as before; `--backup PLACE` erases there too")
    if others:
        cards = ", ".join(map(str, sorted(others)))
        print(f"the same phone or e-mail is on other cards, which stay until they are erased too: {cards}")


COMMANDS: list[click.Command] = [erase_buyer]
