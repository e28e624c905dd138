"""What can be set about the source and about how it is asked."""

from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[source]``: the CRM."""

    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://.+")] = "https://openapi.keycrm.app/v1"
    requests_per_minute: Positive = 60
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    attempts: Positive = 6
    backoff_seconds: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    max_in_flight: Positive = 8
    budget_folder: str = ""


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[ingest]``: what a sync asks for."""

    created_days: Positive = 2
    overlap_minutes: NotNegative = 5
    orders_per_window: Positive = 5000
    orders_by_id: NotNegative = 500
    lists_every_minutes: NotNegative = 60
    references_every_minutes: NotNegative = 0
