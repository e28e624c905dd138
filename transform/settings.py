"""The shop's rules, as data: section ``[rules]``; and section ``[transform]``."""

from datetime import date
from typing import Annotated, Literal

import msgspec

# The CRM's ids, as tables hold them: in 64 bits.
Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Ids = tuple[Id, ...]


class SalesRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who sells what. Either ``managers``, or ``sources`` for orders that have no manager.

    It holds from ``valid_from`` (the shop's day) on, until a later rule names the same one.
    """

    sales_type: Literal["retail", "b2b", "other"]
    managers: Ids = ()
    sources: Ids = ()
    valid_from: date = date(1970, 1, 1)

    def __post_init__(self) -> None:
        if bool(self.managers) == bool(self.sources):
            raise ValueError("a rule names either managers or sources")


class RulesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[rules]``: what makes an order a return, retail, or none of ours."""

    return_statuses: Ids = (19, 21, 22, 23)
    return_status_groups: Ids = ()
    excluded_sources: Ids = (3,)
    brand_field: Annotated[str, msgspec.Meta(min_length=1)] = "CT_1001"
    sales_types: tuple[SalesRule, ...] = (
        SalesRule(sales_type="retail", managers=(22, 4, 16)),
        SalesRule(sales_type="b2b", managers=(15,)),
        SalesRule(sales_type="retail", sources=(4,)),
    )

    def __post_init__(self) -> None:
        said: dict[tuple[str, int, date], str] = {}
        for rule in self.sales_types:
            named = [("manager", one) for one in rule.managers] + [("source", one) for one in rule.sources]
            for kind, one in named:
                other = said.setdefault((kind, one, rule.valid_from), rule.sales_type)
                if other != rule.sales_type:
                    raise ValueError(
                        f"{kind} {one} is {other} and {rule.sales_type} from {rule.valid_from} on"
                    )


class TransformSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[transform]``: what a release may do to the one before it."""

    largest_fall: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
