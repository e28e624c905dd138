"""Erasure command: ``erase-buyer``."""

from datetime import UTC, datetime

import click

from ingest.entities import BUYERS
from ingest.erasure import other_cards, redactions_of
from lake.backup.backup import read_manifest, refuse_stranger
from lake.cli.main import open_lake
from lake.delta.tables import open_table
from lake.maintenance.redaction import Erased, erase, record
from lake.paths import Lake


@click.command("erase-buyer")
@click.argument("buyer", type=click.IntRange(1, 2**62))
@click.option("--backup", "backups", multiple=True, help="A backup of the lake to erase the buyer from too.")
def erase_buyer(buyer: int, backups: tuple[str, ...]) -> None:
    """Remove the personal data of a buyer's ID from every file of the lake; orders and sums stay.

    Erase the person in the CRM first. If you do not, the next change there brings the name back.
    """
    _, own = open_lake()
    for root in backups:
        # Both raise UsageError before anything is erased: if there is no backup, or another shop's.
        read_manifest(root)
        refuse_stranger(own, Lake(root=root))
    open_table(own, BUYERS.table)  # raises TableMissing if there is no lake
    cards = other_cards(own, buyer)
    rows = files = 0
    for root in (*backups, own.place):
        lake = Lake(root=root)
        erased = erase(lake, redactions_of(lake, buyer))
        rows, files = rows + erased.rows, files + erased.files
        if erased.rows:
            print(f"{lake.place}: erased the person from {erased.rows} rows of {erased.files} files")
        else:
            print(f"{lake.place}: no row names buyer {buyer}: erased before, or no such buyer")
    record(own, Erased(rows, files), at=datetime.now(UTC))
    if not backups:
        print("backups of the lake still name the person; `--backup PLACE` erases there too")
    if cards:
        ids = ", ".join(map(str, sorted(cards)))
        print(f"the same phone or e-mail is on other cards, which stay until they are erased too: {ids}")


COMMANDS: list[click.Command] = [erase_buyer]
