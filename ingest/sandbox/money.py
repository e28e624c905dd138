"""Amounts of the shop, in whole kopecks.

``products_total`` is the sum of the lines at the prices they were sold for. The order's own
discount, in percent and in money, is subtracted. Shipping, wrapping and taxes are added if the
setting ``extras_in_total`` is true.
"""

from collections.abc import Iterable

from ingest.sandbox.records import Expense, Line, Order


def percent_of(amount: int, percent: int) -> int:
    """Return ``percent`` of ``amount``; half a kopeck is rounded up."""
    return (amount * percent + 50) // 100


def sold_at(price: int, *, percent: int, amount: int, loyalty: int) -> int:
    """Return the price of one unit of a line after the line's own discounts."""
    return price - percent_of(price, percent + loyalty) - amount


def lines_total(lines: Iterable[Line]) -> int:
    """Return the sum of the lines at sale prices; a price of a fractional quantity divides evenly."""
    return sum(line.price_sold * line.quantity for line in lines) // 1000


def cost_total(lines: Iterable[Line]) -> int:
    """Return the cost of the lines; an unknown cost is 0."""
    return sum((line.cost or 0) * line.quantity for line in lines) // 1000


def order_discount(order: Order) -> int:
    """Return the discount on the whole order, without the discounts inside lines."""
    return percent_of(order.products_total, order.discount_percent) + order.discount_amount


def settle(order: Order, *, extras: bool) -> None:
    """Compute the order's totals from its lines, discount and extras."""
    order.products_total = lines_total(order.lines)
    total = order.products_total - order_discount(order)
    if extras:
        total += (order.shipping_price or 0) + (order.wrap_price or 0) + (order.taxes or 0)
    order.grand_total = total


def spent(expenses: Iterable[Expense]) -> int:
    """Return the expenses of an order, without the cancelled ones."""
    return sum(expense.amount for expense in expenses if expense.status != "canceled")


def payment_status(order: Order) -> str:
    """Return the payment status of the order, in the CRM's word."""
    if order.paid == order.grand_total:
        return "paid"
    if order.paid > order.grand_total:
        return "overpaid"
    return "part_paid" if order.paid else "not_paid"
