"""The settings of the sandbox shop, with a switch for each disputed fact of the API.

If public material about the real service contradicts itself or is silent, a switch selects the
behaviour, so that tests can try both.
"""

import datetime as dt
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[int, msgspec.Meta(ge=0)]


class Sandbox(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one sandbox shop; decoding refuses an invalid value."""

    # address of the shop
    host: str = "127.0.0.1"
    # its port; 0 takes a free one
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8090
    # seed of the shop's history: the same seed gives the same history, byte for byte
    seed: int = 7
    # first day of the shop, Europe/Kyiv
    start: dt.date = dt.date(2024, 9, 1)
    # days of history that exist when the shop opens
    days: Positive = 730
    # orders per day, averaged over a year
    orders_per_day: Annotated[float, msgspec.Meta(ge=0.0)] = 50.0
    # real seconds that a day of the shop lasts while it serves; 0 stops its clock
    day_seconds: Annotated[float, msgspec.Meta(ge=0.0)] = 86400.0
    # requests per minute that the shop allows to one key; 0 allows any number
    requests_per_minute: Positive = 60
    # how the budget is counted: over the last 60 seconds, or for 60 seconds from the first request
    rate_window: Literal["sliding", "fixed"] = "sliding"
    # the header Retry-After of a refusal (429)
    retry_after: Literal["seconds", "zero", "missing"] = "seconds"
    # milliseconds that each answer is delayed
    latency_ms: Positive = 0
    # the time that filter[created_between] compares
    created_between_on: Literal["created_at", "ordered_at"] = "created_at"
    # end of a range of dates without a time: the start of its last day, or that day's end
    date_only_end: Literal["midnight", "end_of_day"] = "midnight"
    # format of times: 2026-01-29T11:30:49.000000Z, the same with +04:00, or plain UTC without a zone
    stamps: Literal["utc_z", "offset_4", "plain"] = "utc_z"
    # amounts are strings with two decimals if this is true, and numbers otherwise
    amounts_as_strings: bool = False
    # the envelope has last_page
    last_page_key: bool = True
    # orders have client_id even without include=buyer
    client_id_key: bool = True
    # order lines have an id
    line_id_key: bool = True
    # order of the list of orders if a request has no sort
    default_sort: Literal["-id", "id"] = "-id"
    # a second key in sort: that key alone is ignored, or the whole parameter is
    second_sort_key: Literal["ignored", "all_ignored"] = "ignored"
    # limit above 50: cut to 50 without an error, or refused with 422
    limit_over_50: Literal["clamp", "error"] = "clamp"
    # limit below 1: the default of 15, one row, or refused with 422
    limit_under_1: Literal["default", "one", "error"] = "default"
    # share of status changes that change the order's updated_at
    status_bumps_updated_at: Share = 0.9
    # share of line edits that change the order's updated_at
    line_edit_bumps_updated_at: Share = 0.9
    # an added, edited or removed expense changes the order's updated_at
    expense_bumps_updated_at: bool = True
    # a merge of two buyers changes the updated_at of the orders that move to the other buyer
    merge_bumps_updated_at: bool = False
    # shipping, wrapping and taxes are part of grand_total
    extras_in_total: bool = True
    # expenses are subtracted from margin_sum
    margin_less_expenses: bool = True
    # /offers lists the offer of every product without variants, or of a quarter of them if this is false
    offer_for_every_product: bool = True
    # phones and e-mails of a buyer without contacts: null or an empty list
    no_contacts: Literal["null", "empty"] = "null"
    # names of built-in statuses: their alias or a label
    builtin_names: Literal["alias", "label"] = "alias"
