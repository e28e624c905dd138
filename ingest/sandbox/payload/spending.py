"""Payments and expenses of an order."""

from ingest.sandbox import stamps
from ingest.sandbox.payload.forms import Forms, Json
from ingest.sandbox.records import Expense, Order


def expense(forms: Forms, expense: Expense, order: Order) -> Json:
    """Return one expense of an order."""
    return {
        "id": expense.id,
        "destination_id": order.id,
        "expense_type_id": expense.type_id,
        "amount": forms.amount(expense.amount),
        "actual_currency": "UAH",
        "transaction_uuid": None,
        "description": expense.description,
        "status": expense.status,
        "payment_date": stamps.plain(expense.payment_date) if expense.payment_date else None,
        "created_at": forms.at(expense.created_at),
        "updated_at": forms.at(expense.updated_at),
    }


def payments(forms: Forms, order: Order) -> list[Json]:
    """Return the payments of the order: none or one."""
    if not order.paid or not order.paid_at:
        return []
    at, paid = forms.at(order.paid_at), forms.amount(order.paid)
    return [
        {
            "id": order.id + 1000,
            "destination_id": order.id,
            "payment_method_id": 2 if order.source_number else 3,
            "amount": paid,
            "actual_amount": paid,
            "source_currency": "UAH",
            "actual_currency": "UAH",
            "transaction_uuid": f"LQ-{order.id}" if order.source_number else None,
            "description": None,
            "status": "paid",
            "is_expense": False,
            "bill_id": None,
            "fiscal_result": None,
            "payment_date": stamps.plain(order.paid_at),
            "created_at": at,
            "updated_at": at,
        }
    ]
