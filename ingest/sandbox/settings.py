"""Everything about the sandbox shop that can be chosen, the disputed facts of the API among them.

Where public material contradicts itself or is silent about the real service, the
behaviour is a switch here, so that whoever reads the API can be tried both ways.
"""

import datetime as dt
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[int, msgspec.Meta(ge=0)]


class Sandbox(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one sandbox shop; a bad value is refused when it is decoded."""

    # address the shop listens on
    host: str = "127.0.0.1"
    # port the shop listens on; 0 takes any free one
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8090
    # same seed, same life, to the byte
    seed: int = 7
    # the first day of the shop, Europe/Kyiv
    start: dt.date = dt.date(2024, 9, 1)
    # days of history that exist when the shop opens
    days: Positive = 730
    # orders a day, averaged over a year
    orders_per_day: Annotated[float, msgspec.Meta(ge=0.0)] = 50.0
    # real seconds a shop day lasts while serving; 0 stops the clock
    day_seconds: Annotated[float, msgspec.Meta(ge=0.0)] = 86400.0
    # requests a minute the shop allows to one key; 0 allows any number
    requests_per_minute: Positive = 60
    # how the budget is counted: over the last 60 s, or from the first request for 60 s
    rate_window: Literal["sliding", "fixed"] = "sliding"
    # what a refusal (429) says about the wait
    retry_after: Literal["seconds", "zero", "missing"] = "seconds"
    # milliseconds every answer takes beyond its own work
    latency_ms: Positive = 0
    # the stamp that filter[created_between] looks at
    created_between_on: Literal["created_at", "ordered_at"] = "created_at"
    # where a range of bare dates ends on its last day
    date_only_end: Literal["midnight", "end_of_day"] = "midnight"
    # how instants are written: 2026-01-29T11:30:49.000000Z, the same with +04:00, or plain UTC without a zone
    stamps: Literal["utc_z", "offset_4", "plain"] = "utc_z"
    # amounts are numbers, or all of them strings with two decimals
    amounts_as_strings: bool = False
    # the envelope says last_page
    last_page_key: bool = True
    # orders say client_id without include=buyer
    client_id_key: bool = True
    # order lines say their id
    line_id_key: bool = True
    # the order of a list of orders without sort
    default_sort: Literal["-id", "id"] = "-id"
    # a second key in sort: only it is ignored, or the whole parameter
    second_sort_key: Literal["ignored", "all_ignored"] = "ignored"
    # limit above 50: cut to 50 in silence, or refused with 422
    limit_over_50: Literal["clamp", "error"] = "clamp"
    # limit below 1: the default of 15, one row, or refused with 422
    limit_under_1: Literal["default", "one", "error"] = "default"
    # share of status changes that move the order's updated_at
    status_bumps_updated_at: Share = 0.9
    # share of line edits that move the order's updated_at
    line_edit_bumps_updated_at: Share = 0.9
    # adding, editing or removing an expense moves the order's updated_at
    expense_bumps_updated_at: bool = True
    # merging buyers moves the updated_at of the orders that change hands
    merge_bumps_updated_at: bool = False
    # shipping, wrapping and taxes are part of grand_total
    extras_in_total: bool = True
    # margin_sum is net of expenses
    margin_less_expenses: bool = True
    # every product without variants has an offer; otherwise only a quarter of them are listed in /offers
    offer_for_every_product: bool = True
    # a buyer without contacts has an empty list of phones and e-mails, or null
    no_contacts: Literal["null", "empty"] = "null"
    # what the order's status labels are for built-in statuses: their alias or a name
    builtin_names: Literal["alias", "label"] = "alias"
