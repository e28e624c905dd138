"""Settings of the transform: the shop's rules (``[rules]``) and limits of a release (``[transform]``)."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

# A CRM id; tables store it in 64 bits.
Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Ids = tuple[Id, ...]
# The code of a currency, as KeyCRM writes it.
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", examples=["USD"])]
# Upper bound of the limits below, so that no sum of a lake can exceed its column.
MAX_AMOUNT, MAX_QUANTITY = 10**10, 10**9
# Decimal places of a rate, and the rate that is no longer possible.
RATE_PLACES, MAX_RATE = 6, 10**6


class SalesRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sales type of orders: by ``managers``, or by ``sources`` if an order has no manager.

    A rule applies from ``valid_from`` (the shop's day) until a later rule names the same id.
    """

    sales_type: Literal["retail", "b2b", "other"]
    managers: Ids = ()
    sources: Ids = ()
    valid_from: date = date(1970, 1, 1)

    def __post_init__(self) -> None:
        if bool(self.managers) == bool(self.sources):
            raise ValueError("a rule names either managers or sources")


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of one unit of a currency in the shop's currency.

    It applies to orders from ``valid_from`` (the shop's day) on, until a later rate of the same currency.
    """

    currency: Currency
    rate: Decimal
    valid_from: date = date(1970, 1, 1)

    def __post_init__(self) -> None:
        if not (self.rate.is_finite() and 0 < self.rate < MAX_RATE):
            raise ValueError(f"the rate of {self.currency} is {self.rate}; write a price above 0")
        if self.rate != round(self.rate, RATE_PLACES):
            raise ValueError(f"the rate of {self.currency} has more than {RATE_PLACES} decimal places")


class RulesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[rules]``: which orders are returns, which are excluded, their sales types, the currency.

    An order with an amount above ``largest_amount`` (in the shop's currency), or with a line of more
    than ``largest_quantity`` pieces, is set aside. The same limits apply to stock, costs and expenses.
    """

    return_statuses: Ids = (19, 21, 22, 23)
    return_status_groups: Ids = ()
    excluded_sources: Ids = (3,)
    brand_field: Annotated[str, msgspec.Meta(min_length=1)] = "CT_1001"
    sales_types: tuple[SalesRule, ...] = (
        SalesRule(sales_type="retail", managers=(22, 4, 16)),
        SalesRule(sales_type="b2b", managers=(15,)),
        SalesRule(sales_type="retail", sources=(4,)),
    )
    currency: Currency = "UAH"
    rates: tuple[Rate, ...] = ()
    largest_amount: Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)] = 100_000_000
    largest_quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)] = 1_000_000

    def __post_init__(self) -> None:
        self._refuse_two_sales_types()
        self._refuse_two_rates()

    def _refuse_two_sales_types(self) -> None:
        assigned: dict[tuple[str, int, date], str] = {}
        for rule in self.sales_types:
            named = [("manager", id) for id in rule.managers] + [("source", id) for id in rule.sources]
            for kind, id in named:
                other = assigned.setdefault((kind, id, rule.valid_from), rule.sales_type)
                if other != rule.sales_type:
                    raise ValueError(
                        f"{kind} {id} is {other} and {rule.sales_type} from {rule.valid_from} on"
                    )

    def _refuse_two_rates(self) -> None:
        assigned: dict[tuple[str, date], Decimal] = {}
        for rule in self.rates:
            if rule.currency == self.currency:
                raise ValueError(f"{rule.currency} is the shop's currency, its rate is 1; remove the rate")
            other = assigned.setdefault((rule.currency, rule.valid_from), rule.rate)
            if other != rule.rate:
                raise ValueError(
                    f"the rate of {rule.currency} is {other} and {rule.rate} from {rule.valid_from} on"
                )


class TransformSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[transform]``: how much a release may change.

    ``largest_fall`` is the share (0 to 1) by which a total may decrease without a stated reason.
    """

    largest_fall: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
