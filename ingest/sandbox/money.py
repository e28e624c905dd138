"""The shop's arithmetic, in whole kopecks.

``products_total`` is what the lines were sold for; the order's own discount comes off it,
in percent and in money; shipping, wrapping and taxes come on top (by setting).
"""

from collections.abc import Iterable

from ingest.sandbox.records import Expense, Line, Order


def percent_of(amount: int, percent: int) -> int:
    """Return ``percent`` of ``amount``, half a kopeck rounded up."""
    return (amount * percent + 50) // 100


def sold_at(price: int, *, percent: int, amount: int, loyalty: int) -> int:
    """Return what one unit of a line is sold for after the line's own discounts."""
    return price - percent_of(price, percent + loyalty) - amount


def lines_total(lines: Iterable[Line]) -> int:
    """Return what the lines were sold for; prices of fractional quantities divide evenly."""
    return sum(line.price_sold * line.quantity for line in lines) // 1000


def cost_total(lines: Iterable[Line]) -> int:
    """Return what the lines were bought for; unknown costs count as nothing."""
    return sum((line.cost or 0) * line.quantity for line in lines) // 1000


def order_discount(order: Order) -> int:
    """Return the discount on the order as a whole, apart from the discounts inside lines."""
    return percent_of(order.products_total, order.discount_percent) + order.discount_amount


def settle(order: Order, *, extras: bool) -> None:
    """Bring the order's totals in line with its lines, discount and extras."""
    order.products_total = lines_total(order.lines)
    total = order.products_total - order_discount(order)
    if extras:
        total += (order.shipping_price or 0) + (order.wrap_price or 0) + (order.taxes or 0)
    order.grand_total = total


def spent(expenses: Iterable[Expense]) -> int:
    """Return what was spent on an order; cancelled expenses are not."""
    return sum(expense.amount for expense in expenses if expense.status != "canceled")


def payment_status(order: Order) -> str:
    """Return how much of the order is paid, in the CRM's word for it."""
    if order.paid == order.grand_total:
        return "paid"
    if order.paid > order.grand_total:
        return "overpaid"
    return "part_paid" if order.paid else "not_paid"
