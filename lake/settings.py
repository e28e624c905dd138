"""Settings of the lake: its location, the resources of DuckDB, and the retention of releases."""

from typing import Annotated

import msgspec

from lake.paths import GROUP_READS, LOCK_SECONDS, OWNER_ONLY, Lake, fault, shown_root

Days = Annotated[int, msgspec.Meta(ge=1)]
Hours = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
# A number of threads. More than there are cores do not help, and very many take minutes to start.
Threads = Annotated[int, msgspec.Meta(ge=0, le=512)]
# An amount of memory in DuckDB's notation.
Memory = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)? ?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$")]


class LakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[lake]``."""

    root: str = "data/lake"
    memory_limit: Memory = "2GB"
    threads: Threads = 0
    spill: str = ""
    keep_days: Days = 90
    keep_all_hours: Hours = 6
    group_access: bool = False
    durable: bool = True
    lock_seconds: Seconds = LOCK_SECONDS

    @property
    def lake(self) -> Lake:
        """The lake that the settings name."""
        mode = GROUP_READS if self.group_access else OWNER_ONLY
        return Lake(root=self.root, mode=mode, durable=self.durable, lock_seconds=self.lock_seconds)

    def __post_init__(self) -> None:
        if reason := fault(self.root):
            raise ValueError(f"root is {shown_root(self.root)}: {reason}")
