"""Edits by hand in the CRM: plain data, each applied at the shop's present time."""

from ingest.sandbox.edits import orders, shop
from ingest.sandbox.edits.kinds import (
    AddBuyer,
    AddExpense,
    AddLine,
    AddManager,
    AddOrder,
    AddSource,
    AddStatus,
    DeleteOrder,
    Edit,
    EditExpense,
    EditLine,
    EditOrder,
    EditProduct,
    MergeBuyers,
    NewLine,
    RemoveExpense,
    RemoveLine,
    Rename,
    RestoreOrder,
    SetStatus,
    SetStock,
)
from ingest.sandbox.world import World

__all__ = [
    "AddBuyer",
    "AddExpense",
    "AddLine",
    "AddManager",
    "AddOrder",
    "AddSource",
    "AddStatus",
    "DeleteOrder",
    "Edit",
    "EditExpense",
    "EditLine",
    "EditOrder",
    "EditProduct",
    "MergeBuyers",
    "NewLine",
    "RemoveExpense",
    "RemoveLine",
    "Rename",
    "RestoreOrder",
    "SetStatus",
    "SetStock",
    "apply",
]


def apply(world: World, edit: Edit) -> int:
    """Apply ``edit`` now and return the id that it created or changed. Raises KeyError for an unknown id."""
    match edit:
        case AddOrder():
            return orders.add_order(world, edit)
        case EditOrder():
            return orders.edit_order(world, edit)
        case AddLine() | EditLine() | RemoveLine():
            return orders.edit_lines(world, edit)
        case SetStatus():
            order = world.store.order(edit.order_id)
            world.store.set_status(order, edit.status_id, at=world.at, bump=edit.bump)
        case DeleteOrder():
            world.store.delete(world.store.order(edit.order_id), at=world.at)
        case RestoreOrder():
            world.store.restore(world.store.order(edit.order_id))
        case AddExpense() | EditExpense() | RemoveExpense():
            return orders.edit_expenses(world, edit)
        case AddBuyer() | MergeBuyers():
            return shop.edit_buyers(world, edit)
        case Rename():
            return shop.rename(world, edit)
        case EditProduct() | SetStock():
            return shop.edit_goods(world, edit)
        case _:
            return shop.add_reference(world, edit)
    return edit.order_id
