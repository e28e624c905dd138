"""Settings of the transform: the shop's rules (``[rules]``) and limits of a release (``[transform]``)."""

from datetime import date
from typing import Annotated, Literal

import msgspec

# A CRM id; tables store it in 64 bits.
Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Ids = tuple[Id, ...]


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


class RulesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[rules]``: which orders are returns, which are excluded, and their sales types."""

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
        assigned: dict[tuple[str, int, date], str] = {}
        for rule in self.sales_types:
            named = [("manager", id) for id in rule.managers] + [("source", id) for id in rule.sources]
            for kind, id in named:
                other = assigned.setdefault((kind, id, rule.valid_from), rule.sales_type)
                if other != rule.sales_type:
                    raise ValueError(
                        f"{kind} {id} is {other} and {rule.sales_type} from {rule.valid_from} on"
                    )


class TransformSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section ``[transform]``: how much a release may change.

    ``largest_fall`` is the share (0 to 1) by which a total may decrease without a stated reason.
    """

    largest_fall: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
