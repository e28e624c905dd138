"""Settings of the source and of the requests to it."""

import re
from typing import Annotated, Literal

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
# Scheme, host, perhaps a port, and a path.
ADDRESS = re.compile(r"https?://([\w.~-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[\w./~%+-]*)?")
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
ListName = Literal["products", "offers", "categories", "managers", "sources", "statuses", "expense_types"]
# Minutes between two readings of a list. The catalogue has dozens of pages, and the stock history is hourly;
# each other list has one page and is read in every run.
EVERY_MINUTES: dict[ListName, int] = {
    "products": 60,
    "offers": 60,
    "categories": 0,
    "managers": 0,
    "sources": 0,
    "statuses": 0,
    "expense_types": 0,
}


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[source]``: the CRM.

    Raises ValueError for an address with more than a host and a path: it is recorded in the lake, and a
    user, password or key in it would be recorded too.
    """

    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://.+")] = "https://openapi.keycrm.app/v1"
    requests_per_minute: Positive = 60
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=55)] = 30.0
    attempts: Positive = 6
    backoff_seconds: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    max_in_flight: Positive = 8
    budget_folder: str = ""

    def __post_init__(self) -> None:
        if not ADDRESS.fullmatch(self.base_url):
            raise ValueError(
                "base_url has a user, a password, a query or blanks, or no host; write only https://host/v1,"
                " and put the key into KEYCRM_API_KEY"
            )


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[ingest]``: the extent of a sync."""

    created_days: Positive = 2
    overlap_minutes: NotNegative = 5
    orders_per_window: Positive = 5000
    orders_by_id: NotNegative = 500
    every_minutes: dict[ListName, NotNegative] = msgspec.field(default_factory=lambda: dict(EVERY_MINUTES))

    def minutes(self, name: str) -> int:
        """Return the cadence of a list in minutes; the default if the settings leave it out."""
        return next(minutes for key, minutes in (EVERY_MINUTES | self.every_minutes).items() if key == name)
