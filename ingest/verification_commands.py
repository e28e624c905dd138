"""Commands about damaged files: ``verify`` finds them, ``repair-rows`` writes those of bronze again."""

from datetime import UTC, datetime

import click

from ingest.bronze_repair import repair_bronze
from ingest.lost_lines import restore_lines
from ingest.payload_check import PayloadCheck
from lake.cli.main import open_lake
from lake.errors import TableDamaged
from lake.maintenance.verification import Verified, verify
from lake.messages import counted
from lake.settings import LakeSettings


@click.command("verify")
@click.option("--deep", is_flag=True, help="Decode every file, and compare bronze with its payloads.")
@click.option("--share", is_flag=True, help="Only this night's share: each file is due once in seven nights.")
def verify_lake(deep: bool, share: bool) -> None:
    """Compare every file that a retained release needs with its checksum; exit 1 if one is damaged."""
    config, lake = open_lake()
    settings = config.section(LakeSettings)
    check = PayloadCheck(lake).fault if deep else None
    result = verify(lake, settings, now=datetime.now(UTC), share=share, deep=deep, row_check=check)
    for damage in result.damages:
        print(damage.line)
    print(summary(result))
    if result.damages:
        raise TableDamaged(f"{counted(len(result.damages), 'file')} damaged; {result.damages[0].remedy}")


@click.command("repair-rows")
def repair_rows() -> None:
    """Write damaged files and lost lines of bronze again from payloads; the middle part of `just repair`."""
    config, lake = open_lake()
    settings = config.section(LakeSettings)
    for line in repair_bronze(lake, settings, now=datetime.now(UTC)):
        print(line)
    for line in restore_lines(lake, settings):
        print(line)


def summary(result: Verified) -> str:
    """Return the numbers of a verification in one line."""
    older = f", {result.without_checksum} of them without a checksum" * bool(result.without_checksum)
    size = f"{result.bytes / 1e6:,.2f} MB"
    return f"{counted(result.files, 'file')} verified ({size}){older}; {len(result.damages)} damaged"


COMMANDS: list[click.Command] = [verify_lake, repair_rows]
