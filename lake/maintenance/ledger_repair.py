"""Ledger repair: a ledger without the files that are damaged and in no backup."""

from lake.delta.damage import damaged_files
from lake.delta.tables import open_table
from lake.paths import Lake


def drop_damaged_files(lake: Lake) -> list[str]:
    """Remove the damaged files of ledgers from their tables; return their paths in the lake.

    What they recorded is lost. Raises CommitConflict if another process commits.
    """
    dropped = []
    for name in lake.tables("ops"):
        folder = f"{lake.uri(name)}/"
        for uri in damaged_files(sorted(open_table(lake, name).uris())):
            table = open_table(lake, name)
            if file := table.live_file(uri.removeprefix(folder)):
                table.drop_file(file)
                dropped.append(uri.removeprefix(f"{lake.place}/"))
    return dropped
