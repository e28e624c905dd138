"""What orders do to the shelves.

An order reserves its goods, then takes them away, and a cancelled or returned one puts them
back. Every effect is a sum, so the order in which orders are dealt with changes nothing.
"""

from collections.abc import Iterable, Sequence

from ingest.sandbox.records import Line, Offer

NONE, RESERVED, SHIPPED, BACK = 0, 1, 2, 3
_DELIVERY_GROUP, _DONE_GROUP, _LOST_GROUP = 4, 5, 6


def state_in(group: int, now: int) -> int:
    """Return what an order whose goods are in state ``now`` does once it enters a status of ``group``."""
    if group in (_DELIVERY_GROUP, _DONE_GROUP):
        return SHIPPED
    if group == _LOST_GROUP:
        return BACK
    return RESERVED if now in (NONE, BACK) else now


def carry(offers: Sequence[Offer], lines: Iterable[Line], *, before: int, after: int) -> None:
    """Undo on the shelves what the lines did in state ``before``, and do what they do in ``after``."""
    reserve = (after == RESERVED) - (before == RESERVED)
    gone = (after == SHIPPED) - (before == SHIPPED)
    if not reserve and not gone:
        return
    for line in lines:
        if line.offer_id:
            offer = offers[line.offer_id - 1]
            offer.reserve += reserve * line.quantity
            offer.quantity -= gone * line.quantity


def restock(offers: Iterable[Offer]) -> None:
    """Refill what has sold well, in lots of a hundred.

    The decision looks at what was ever ordered, not at what lies on the shelf at this instant.
    """
    for offer in offers:
        short = offer.sold - offer.restocked
        if short >= 100_000:
            lot = short // 100_000 * 100_000
            offer.restocked += lot
            offer.quantity += lot
