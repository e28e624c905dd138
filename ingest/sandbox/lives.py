"""The life of an order: every step after it is placed, drawn in full at that moment.

A step changes only its own order and draws nothing. So the steps of different orders may be
applied in any order, and the result does not depend on the number of advances.
"""

import datetime as dt
from random import Random
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from ingest.sandbox import money, reference
from ingest.sandbox.records import Expense, Line, Order
from ingest.sandbox.stamps import DAY, HOUR, day_start, moment
from ingest.sandbox.store import Store
from lake.clock import shop_day

STATUS, EXPENSE, EXPENSE_EDIT, EXPENSE_GONE, QUANTITY, LINE_GONE, LINE_NEW, ORDERED, DELETE, COPY = range(10)
Step: TypeAlias = tuple[int, int, "int | Expense | Line", bool]
"""Time (seconds), kind, value, and whether updated_at changes."""

WAITING, COMPLETED, IN_TRANSIT, DELIVERED, AT_BRANCH, CANCELED, RETIRED = 3, 12, 11, 9, 20, 19, 25
_Chain: TypeAlias = tuple[tuple[int, int, int], ...]


def _chain(*steps: tuple[int, float, float]) -> _Chain:
    return tuple((status, int(low * HOUR), int((high - low) * HOUR)) for status, low, high in steps)


_SENT = ((2, 0.2, 6), (8, 1, 16), (IN_TRANSIT, 1, 8))
_PREPAID = ((4, 0.2, 8), (2, 1, 26), (8, 1, 16), (10, 1, 4), (IN_TRANSIT, 1, 8))
_DONE = (*_SENT, (AT_BRANCH, 12, 60), (COMPLETED, 2, 40))
_LIVES: tuple[tuple[int, _Chain], ...] = (
    (430, _chain(*_DONE)),
    (230, _chain(*_PREPAID, (DELIVERED, 20, 70), (COMPLETED, 1, 20))),
    (170, _chain((2, 0.1, 3), (IN_TRANSIT, 4, 20), (COMPLETED, 30, 80))),
    (72, _chain((3, 0.5, 4), (2, 2, 20), (5, 1, 6), (8, 2, 20), (IN_TRANSIT, 1, 8), (COMPLETED, 30, 90))),
    (20, _chain((CANCELED, 0.5, 50))),
    (4, _chain((13, 0.5, 30))),
    (3, _chain((15, 1, 30))),
    (4, _chain((18, 1, 60))),
    (2, _chain((14, 24, 90))),
    (2, _chain((24, 1, 40))),
    (16, _chain(*_SENT, (AT_BRANCH, 20, 60), (21, 110, 230))),
    (5, _chain(*_DONE, (22, 50, 700))),
    (16, _chain(*_DONE, (23, 48, 900), (22, 40, 240))),
    (3, _chain(*_SENT, (23, 60, 200))),
    (4, _chain(*_DONE, (22, 960, 5200))),
    (18, _chain((RETIRED, 1, 10), *_DONE)),
    (1, _chain((RETIRED, 1, 10))),
)  # fmt: skip
_LIFE_OF = tuple(chain for weight, chain in _LIVES for _ in range(weight))
_UNCOLLECTED = _chain(*_SENT, (AT_BRANCH, 20, 60))


class Times(msgspec.Struct, frozen=True):
    """The statuses that the shop uses when an order is placed."""

    has_late_status: bool
    has_retired_status: bool


def steps(rng: Random, store: Store, order: Order, times: Times, *, wholesale: bool) -> list[Step]:
    """Return every step of ``order``, in order of time."""
    fate, first = rng.random(), order.created_at
    if fate > 0.9995:
        found = _statuses(rng, store, first, _UNCOLLECTED, times)
        return [*found, (_month_end(found[-1][0]), COPY, 0, True)]
    found = _statuses(rng, store, first, _LIFE_OF[int(rng.random() * len(_LIFE_OF))], times)
    length = len(found)
    _expenses(rng, store, order, found)
    if wholesale and rng.random() < 0.5:
        ordered = first + int((14 + rng.random() * 26) * DAY)
        found.append((first + 12 * DAY, ORDERED, ordered, True))
    if fate < 0.02:
        _line_edit(rng, store, order, found)
    elif fate < 0.0205:
        found = [step for step in found if step[0] < first + 2 * HOUR]
        found.append((first + 2 * HOUR, DELETE, 0, True))
    if len(found) > length:
        found.sort(key=_when)
    return found


def _statuses(rng: Random, store: Store, at: int, chain: _Chain, times: Times) -> list[Step]:
    """Return the status steps of a life. If a status is not in use, a common one replaces it."""
    random, bumps = rng.random, store.settings.status_bumps_updated_at
    found: list[Step] = []
    for status, low, spread in chain:
        if status == AT_BRANCH and not times.has_late_status:
            status = DELIVERED
        elif status == RETIRED and not times.has_retired_status:
            status = WAITING
        at += low + int(random() * spread)
        found.append((at, STATUS, status, random() < bumps))
    return found


def take(store: Store, order: Order, step: Step) -> None:
    """Apply one step to ``order``."""
    at, kind, value, bump = step
    if kind == STATUS:
        assert isinstance(value, int)
        store.set_status(order, value, at=at, bump=bump)
        if value == COMPLETED:
            store.pay(order, at=at)
    elif order.deleted_at:
        return
    elif kind <= EXPENSE_GONE:
        store.set_expenses(order, _expenses_after(order.expenses, kind, value), at=at)
    elif kind == ORDERED:
        assert isinstance(value, int)
        store.move_ordered(order, value)
        store.touch(order, at)
    elif kind == DELETE:
        store.delete(order, at=at)
    else:
        store.set_lines(order, _lines_after(order.lines, kind, value, at))
        if bump:
            store.touch(order, at)


def _when(step: Step) -> int:
    return step[0]


def _month_end(after: int) -> int:
    """Return 21:40 Kyiv time on the last day of a month, the first such time after ``after``."""
    day = shop_day(moment(after))
    following = (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    at = day_start(following) - 140 * 60
    return at if at > after else _month_end(after + 2 * DAY)


def _expenses(rng: Random, store: Store, order: Order, found: list[Step]) -> None:
    """Add the expenses of the order, and the later changes of these expenses."""
    draw = rng.random()
    if order.paid and draw < 0.9:
        _spend(rng, store, found, reference.ACQUIRING, money.percent_of(order.paid, 2), order.created_at + 2)
    if draw < 0.3:
        amount = 6000 + int(rng.random() * 900) * 10
        _spend(
            rng, store, found, reference.DELIVERY, amount, order.created_at + DAY + int(rng.random() * DAY)
        )
    if draw < 0.06:
        _spend(
            rng, store, found, reference.PACKING, 500 + int(rng.random() * 40) * 50, order.created_at + HOUR
        )
    if order.is_gift:
        _spend(rng, store, found, reference.BLOGGERS, 20000, order.created_at + 3 * DAY)


def _spend(rng: Random, store: Store, found: list[Step], type_id: int, amount: int, at: int) -> None:
    draw = rng.random()
    paid_at = at - at % DAY if draw > 0.85 else at
    state = "not_paid" if draw > 0.97 else "paid"
    expense = Expense(store.next_expense, type_id, amount, state, paid_at, at, at)
    store.next_expense += 1
    found.append((at, EXPENSE, expense, True))
    if draw < 0.03:
        later = at + HOUR + int(rng.random() * 20 * DAY)
        edited = replace(expense, amount=amount + 1500, description="Уточнено", updated_at=later)
        found.append((later, EXPENSE_EDIT, edited, True))
    elif draw < 0.05:
        later = at + HOUR + int(rng.random() * 20 * DAY)
        found.append((later, EXPENSE_EDIT, replace(expense, status="canceled", updated_at=later), True))
    elif draw < 0.055:
        found.append((at + DAY, EXPENSE_GONE, expense.id, True))


def _expenses_after(
    expenses: tuple[Expense, ...], kind: int, value: int | Expense | Line
) -> tuple[Expense, ...]:
    if isinstance(value, Expense):
        if kind == EXPENSE:
            return (*expenses, value)
        return tuple(value if expense.id == value.id else expense for expense in expenses)
    return tuple(expense for expense in expenses if expense.id != value)


def _line_edit(rng: Random, store: Store, order: Order, found: list[Step]) -> None:
    """Add a change of the order's lines by a manager before the order is sent."""
    at = order.created_at + 300 + int(rng.random() * 900)
    bump = rng.random() < store.settings.line_edit_bumps_updated_at
    kind = QUANTITY + int(rng.random() * 3)
    place = int(rng.random() * len(order.lines))
    if kind == LINE_NEW:
        line = order.lines[place]
        extra = replace(line, id=store.next_line, quantity=1000, created_at=at, updated_at=at, upsale=True)
        store.next_line += 1
        found.append((at, LINE_NEW, extra, bump))
    elif kind == QUANTITY or len(order.lines) > 1:
        found.append((at, kind, order.lines[place].id, bump))


def _lines_after(
    lines: tuple[Line, ...], kind: int, value: int | Expense | Line, at: int
) -> tuple[Line, ...]:
    if isinstance(value, Line):
        return (*lines, value)
    if kind == LINE_GONE:
        return tuple(line for line in lines if line.id != value)
    return tuple(
        replace(line, quantity=line.quantity + 1000, updated_at=at) if line.id == value else line
        for line in lines
    )
