"""What can be set for the lake itself: where it lives, what DuckDB may use, how long releases are kept."""

from typing import Annotated

import msgspec

Days = Annotated[int, msgspec.Meta(ge=1)]
Hours = Annotated[int, msgspec.Meta(ge=1)]


class LakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[lake]``."""

    root: str = "data/lake"
    memory_limit: str = "2GB"
    threads: int = 0
    spill: str = ""
    keep_days: Days = 90
    keep_all_hours: Hours = 6
