"""What can be set for the lake itself: where it lives, what DuckDB may use, how long releases are kept."""

from typing import Annotated

import msgspec

from lake.paths import fault

Days = Annotated[int, msgspec.Meta(ge=1)]
Hours = Annotated[int, msgspec.Meta(ge=1)]
# More of them than cores are of no use, and very many take minutes to begin.
Threads = Annotated[int, msgspec.Meta(ge=0, le=512)]
# As DuckDB reads it.
Memory = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)? ?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$")]


class LakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[lake]``."""

    root: str = "data/lake"
    memory_limit: Memory = "2GB"
    threads: Threads = 0
    spill: str = ""
    keep_days: Days = 90
    keep_all_hours: Hours = 6

    def __post_init__(self) -> None:
        if found := fault(self.root):
            raise ValueError(f"root is {self.root!r}: {found}")
