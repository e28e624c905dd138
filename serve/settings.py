"""What can be set for the server and the schedule."""

from typing import Annotated

from msgspec import Meta, Struct

from lake.settings import Memory

Seconds = Annotated[float, Meta(gt=0)]


class ServeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[serve]``.

    ``port`` 0 takes a free one. ``query_seconds`` bounds one query, ``memory_limit``
    one open release, ``open_releases`` how many stay open, ``cache_mb`` the answers kept.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    query_seconds: Seconds = 10.0
    memory_limit: Memory = "512MB"
    open_releases: Annotated[int, Meta(ge=1, le=64)] = 4
    cache_mb: Annotated[int, Meta(ge=0, le=4096)] = 32


class ScheduleSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[schedule]``; ``stop_seconds`` is what a running job gets to end after SIGTERM."""

    sync_every_seconds: Seconds = 300.0
    upkeep: bool = True
    stop_seconds: Seconds = 30.0
