"""The effect of orders on the stock.

A new order reserves its goods, a sent one takes them, and a cancelled or returned one puts them
back. Every effect is a sum, so the sequence of orders does not matter.
"""

from collections.abc import Iterable, Sequence

from ingest.sandbox.records import Line, Offer

NONE, RESERVED, SHIPPED, BACK = 0, 1, 2, 3
_DELIVERY_GROUP, _DONE_GROUP, _LOST_GROUP = 4, 5, 6


def state_in(group: int, now: int) -> int:
    """Return the stock state of an order in state ``now`` when it enters a status of ``group``."""
    if group in (_DELIVERY_GROUP, _DONE_GROUP):
        return SHIPPED
    if group == _LOST_GROUP:
        return BACK
    return RESERVED if now in (NONE, BACK) else now


def carry(offers: Sequence[Offer], lines: Iterable[Line], *, before: int, after: int) -> None:
    """Undo the effect of the lines in state ``before`` on the stock, and apply that of ``after``."""
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
    """Restock offers that sold well, in lots of a hundred.

    The decision depends on all orders so far, and not on the present stock.
    """
    for offer in offers:
        short = offer.sold - offer.restocked
        if short >= 100_000:
            lot = short // 100_000 * 100_000
            offer.restocked += lot
            offer.quantity += lot
