"""Bit rot: a flipped bit in any file is found, and then repaired or refused, and no figure changes.

For each kind of file one bit after another is flipped, at random places of random files; sometimes more is
damaged. The time of the file stays, as on a disk that rots. All damage has to be found by a verification,
and a flipped bit to be repaired to the very bytes; a table whose log rots has to be refused, or show what it
showed, and what the recipe recovers of it are all its rows. Some of the damage meets a full build, which
must publish the same figures or nothing, and a maintenance; after the recipe the figures are the same.
"""

import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import msgspec
import pyarrow as pa
from deltalake import DeltaTable

from ingest.bronze_repair import repair_bronze
from ingest.lost_lines import restore_lines
from ingest.sandbox.command import serving
from lake.cli.main import end
from lake.delta import damage, log_check
from lake.delta.files import Files
from lake.delta.tables import open_table, table_exists
from lake.errors import LakeError, TableDamaged
from lake.maintenance.file_check import NeededFile, data_fault, log_faults
from lake.maintenance.file_repair import repair_files
from lake.maintenance.log_repair import repair_logs
from lake.maintenance.vacuum import maintain
from lake.maintenance.verification import verify
from lake.paths import Lake
from lake.releases.release import find_release
from lake.releases.tags import write_tag
from tests.ingest.conftest import run_ingest
from tests.support.built_lake import ENGINE, FEW
from tests.torture.power import SHOP, figures_of, quiet
from transform.build import BuildRequest, run_build
from transform.settings import RulesSettings

DATA = ("bronze", "rules", "silver", "gold", "ops")
# How a flip may end: repaired to the very bytes, refused, or without any effect on readers.
GOOD = ("healed", "refused", "harmless")
KINDS = (*DATA, "entry", "checkpoint")
# Forms of damage: one bit, four bytes, a zeroed sector, a lost end; every so many times it is another form.
Form = Literal["bit", "burst", "sector", "cut"]
FORMS: tuple[Form, ...] = get_args(Form)
OTHERS, SECTOR = 4, 512
# Flips of a kind after which one meets a build.
BUILDS = 25
# Commits that make a checkpoint in a ledger.
COMMITS = 12
# The time until a maintenance meets the damage: vacuum deletes by then what nothing needs.
LATER = timedelta(days=3)


class Verdict(msgspec.Struct, frozen=True):
    """Damage that was handled wrongly: the kind of file, its path, form and place, and what went wrong."""

    kind: str
    path: str
    form: str
    bit: int
    reason: str


class Campaign:
    """A small lake with a release, and what its figures are."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.lake = Lake(root=str(place / "lake"), durable=False)
        with serving(SHOP) as shop:
            run_ingest(self.lake, ENGINE, shop, place, "full")
        build(self.lake)
        for number in range(COMMITS):
            write_tag(self.lake, find_release(self.lake, 1), f"tag{number}", now=datetime.now(UTC))
        self.figures = figures_of(self.lake)

    def paths(self, kind: str) -> list[Path]:
        """Return the files of a kind."""
        root = Path(self.lake.place)
        if kind in DATA:
            return sorted(file for file in root.glob(f"{kind}/**/part-*.parquet"))
        pattern = "*.json" if kind == "entry" else "*.checkpoint.parquet"
        return sorted(root.glob(f"*/*/_delta_log/{pattern}"))

    def judge(self, kind: str, file: Path, bit: int, form: Form, *, with_build: bool) -> str:
        """Damage a file; return how it ended. Raises AssertionError if a wrong value was shown or left."""
        if kind in DATA:
            return self.judge_data(file, bit, form, with_build=with_build)
        return self.judge_log(file, bit, form, with_build=with_build)

    def judge_data(self, file: Path, bit: int, form: Form, *, with_build: bool) -> str:
        """Return how damage of a data file ended; the file is the old one after that."""
        content, path = file.read_bytes(), str(file.relative_to(self.lake.place))
        name = ".".join(path.split("/")[:2])
        rot(file, bit, form)
        damaged = file.read_bytes()
        if damaged == content:  # zeros in place of zeros
            return "harmless"
        try:
            found = data_fault(Files(self.lake.place), NeededFile(name, path, len(content)))
            assert found, "verify does not find it"
            assert damage.damaged_files([str(file)]), "builds do not find it"
            if with_build:
                self.judge_build(name.split(".")[0], form)
            (repaired,) = repair_files(self.lake)
            assert repaired.how or form != "bit", "a flipped bit is not repaired"
            assert file.read_bytes() == (content if repaired.how else damaged), (
                "a repair wrote something else"
            )
            return "healed" if repaired.how else "refused"
        finally:
            file.write_bytes(content)
            forget()

    def judge_build(self, kind: str, form: Form) -> None:
        """Build a copy of the damaged lake in full, maintain it, repair it and build: no figure differs."""
        with self.copy() as lake:
            with contextlib.suppress(LakeError):
                build(lake, full=True)
                assert figures_of(lake) == self.figures, "a build shows other figures"
            forget()
            with contextlib.suppress(LakeError):
                maintain(lake, ENGINE, now=datetime.now(UTC) + LATER)
            forget()
            try:
                recipe(lake)
                shown = figures_of(lake)
            except LakeError as error:
                if may_stay(kind, form, error):
                    return
                raise
            assert shown == self.figures, "the build after the repair shows other figures"

    def judge_log(self, file: Path, bit: int, form: Form, *, with_build: bool) -> str:
        """Return how damage of a file of a log ended; the log is the old one after that."""
        name = f"{file.parent.parent.parent.name}.{file.parent.parent.name}"
        expected, rows = state_of(self.lake, name), rows_of(self.lake, name)
        kind = "entry" if file.suffix == ".json" else "checkpoint"
        with restored(file.parent):
            rot(file, bit, form)
            found = log_faults(self.lake.uri(name))
            if with_build and found:
                self.judge_build(kind, form)
            ended = self.judge_repair(name, rows) if found else "harmless"
            forget()
            try:
                shown = state_of(self.lake, name)
            except Exception:  # delta-rs and Arrow have classes of their own
                if found:
                    return ended
                with self.copy() as lake:  # an entry that only delta-rs refuses
                    assert verify(lake, ENGINE, now=datetime.now(UTC)).damages, "verify does not find it"
                return "refused"
            finally:
                forget()
            assert shown == expected, f"the table shows another state: {shown} for {expected}"
            return ended

    def judge_repair(self, name: str, rows: list[str]) -> str:
        """Repair the logs of a copy; return how it ended. A table that only grows has all its rows again."""
        with self.copy() as lake:
            try:
                repair_logs(lake, ENGINE)
            except LakeError as error:
                if may_stay("entry", "bit", error):
                    return "refused"
                raise
            forget()
            assert log_faults(lake.uri(name)) == [], "the recipe leaves the log damaged"
            if not table_exists(lake, name):  # nothing was left that describes its columns
                build(lake)
            if rows_of(lake, name) == rows:
                return "healed"
            assert not name.startswith(("bronze.", "ops.")), "the recipe loses rows"
            return "refused"  # until a build writes the table again

    @contextlib.contextmanager
    def copy(self) -> Iterator[Lake]:
        """Yield a copy of the lake as it is now."""
        with tempfile.TemporaryDirectory(dir=self.place) as folder:
            shutil.copytree(self.lake.place, f"{folder}/lake")
            forget()
            yield Lake(root=f"{folder}/lake", durable=False)
            forget()


def build(lake: Lake, *, full: bool = False) -> None:
    """Build a few of the models and publish them."""
    run_build(lake, BuildRequest(engine=ENGINE, rules=RulesSettings(), models=FEW, full=full))


def recipe(lake: Lake) -> None:
    """Do what `just repair` does."""
    repair_files(lake)
    repair_logs(lake, ENGINE)
    verify(lake, ENGINE, now=datetime.now(UTC))
    list(repair_bronze(lake, ENGINE, now=datetime.now(UTC)))
    list(restore_lines(lake, ENGINE))
    build(lake)


def may_stay(kind: str, form: Form, error: LakeError) -> bool:
    """True if no recipe heals the damage without a backup or the CRM, and the lake is refused until then.

    These are lost payloads and ledgers, and a log whose columns are lost. One bit is always flipped back.
    """
    if kind == "entry":
        return "does not describe the table" in str(error)
    return kind in ("bronze", "ops") and form != "bit" and isinstance(error, TableDamaged)


def rows_of(lake: Lake, name: str) -> list[str]:
    """Return the rows of a table as sorted text."""
    return sorted(map(str, open_table(lake, name).read().to_pylist()))


def state_of(lake: Lake, name: str) -> tuple[object, ...]:
    """Return what readers use of a table's log: version, columns, and the files with their statistics."""
    table = open_table(lake, name)
    delta = DeltaTable(lake.uri(name))
    files = pa.table(delta.get_add_actions(flatten=True)).drop_columns(["modification_time"])
    rows = sorted(files.to_pylist(), key=lambda row: str(row["path"]))
    return table.version, table.schema, table.partition_by, json.dumps(rows, default=str)


def forget() -> None:
    """Forget which files were intact, like another process."""
    damage.INTACT.clear()
    log_check.WHOLE.clear()


def rotten(content: bytes, bit: int, form: Form) -> bytes:
    """Return a content that is damaged at a bit. Pure."""
    byte, place = divmod(bit, 8)
    before, after = content[:byte], content[byte + 1 :]
    if form == "cut":
        return before
    if form == "sector":
        return before + bytes(min(SECTOR, len(content) - byte)) + content[byte + SECTOR :]
    if form == "burst":
        return before + bytes(each ^ 0xA5 for each in content[byte : byte + 4]) + content[byte + 4 :]
    return before + bytes([content[byte] ^ 1 << place]) + after


def rot(file: Path, bit: int, form: Form) -> None:
    """Damage a file, and keep its time and mode."""
    content, status = file.read_bytes(), file.stat()
    file.chmod(0o600)
    file.write_bytes(rotten(content, bit, form))
    file.chmod(status.st_mode)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    forget()


@contextlib.contextmanager
def restored(folder: Path) -> Iterator[None]:
    """Put the folder back as it is now, whatever happens to it."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(folder, f"{place}/copy")
        try:
            yield
        finally:
            shutil.rmtree(folder)
            shutil.copytree(f"{place}/copy", folder)


@contextlib.contextmanager
def campaign() -> Iterator[Campaign]:
    """Make the lake."""
    place = Path(tempfile.mkdtemp(prefix="rot-"))
    try:
        yield Campaign(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run(count: int, seed: int, *, kinds: Sequence[str] = KINDS, builds: int = BUILDS) -> list[Verdict]:
    """Judge ``count`` flips of each kind; print the figures and return what went wrong."""
    with campaign() as rotting:
        return [
            failure for kind in kinds for failure in run_kind(rotting, kind, count, seed=seed, builds=builds)
        ]


def run_kind(rotting: Campaign, kind: str, count: int, *, seed: int, builds: int) -> list[Verdict]:
    """Judge flips of one kind; print the figures and return what went wrong."""
    dice, outcomes, failures = random.Random(f"{seed} {kind}"), Counter[str](), []
    files = rotting.paths(kind)
    assert files, f"no file of kind {kind}"
    for number in range(1, count + 1):
        file = dice.choice(files)
        bit = dice.randrange(file.stat().st_size * 8)
        form: Form = FORMS[number // OTHERS % len(FORMS)] if number % OTHERS == 0 else "bit"
        judge = partial(rotting.judge, kind, file, bit, form, with_build=number % builds == 0)
        outcome = judged(judge)
        outcomes[outcome if outcome in GOOD else "wrong"] += 1
        if outcome not in GOOD:
            path = str(file.relative_to(rotting.lake.place))
            failures.append(Verdict(kind, path, form, bit, outcome))
            print(f"{kind}: {form} at bit {bit} of {path}: {outcome}", flush=True)
    print(json.dumps({"kind": kind, "flips": count, **outcomes}), flush=True)
    return failures


def judged(judge: Callable[[], str]) -> str:
    """Return how a flip ended, or the error of the judge."""
    try:
        return judge()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main(arguments: Sequence[str]) -> int:
    """Judge flips; return the exit code."""
    quiet()
    count, seed = (int(argument) for argument in [*arguments, "200", "1"][:2]) if arguments else (200, 1)
    return 1 if run(count, seed) else 0


if __name__ == "__main__":
    end(main(sys.argv[1:]))
