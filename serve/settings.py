"""Settings of the server and the schedule."""

from typing import Annotated

from msgspec import Meta, Struct

from lake.settings import Memory

Seconds = Annotated[float, Meta(gt=0)]


class ServeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[serve]``.

    If ``port`` is 0, the server picks a free one. ``query_seconds`` limits the time of one query,
    ``memory_limit`` the memory of one open release, ``open_releases`` the number of open releases,
    and ``cache_mb`` the megabytes of cached answers.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    query_seconds: Seconds = 10.0
    memory_limit: Memory = "512MB"
    open_releases: Annotated[int, Meta(ge=1, le=64)] = 4
    cache_mb: Annotated[int, Meta(ge=0, le=4096)] = 32


class ScheduleSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[schedule]``.

    ``upkeep`` adds the jobs of maintenance to the sync. ``stop_seconds`` is the time that a running
    step has to finish after SIGTERM, and ``step_seconds`` the longest time that a step may run.
    """

    sync_every_seconds: Seconds = 300.0
    upkeep: bool = True
    stop_seconds: Seconds = 30.0
    step_seconds: Seconds = 7_200.0
