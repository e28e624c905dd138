"""What can be set for the lake itself: where it lives and what DuckDB may use."""

import msgspec


class LakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[lake]``."""

    root: str = "data/lake"
    memory_limit: str = "2GB"
    threads: int = 0
    spill: str = ""
