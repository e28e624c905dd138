"""Buyers, with invented names and contacts that do not exist."""

from random import Random

from ingest.sandbox import reference
from ingest.sandbox.records import Buyer
from ingest.sandbox.stamps import DAY, moment

_FIRST = (
    "Олена", "Ірина", "Наталія", "Оксана", "Марія", "Юлія", "Тетяна", "Анна", "Катерина", "Ольга", "Світлана",
    "Вікторія", "Соломія", "Дарина", "Аліна", "Христина", "Андрій", "Богдан", "Олег", "Тарас", "В’ячеслава",
)  # fmt: skip
_LAST = (
    "Зразенко", "Прикладко", "Умовенко", "Тестовенко", "Пробчук", "Навчук", "Вигаденко", "Ескізко", "Макетко",
    "Шаблоненко", "Чернетко", "Модельчук", "Показенко", "Типовчук", "Довільченко", "Абетченко",
)  # fmt: skip
_LOYALTY = (0, 0, 0, 0, 0, 0, 3, 3, 5, 7)
LEVELS = {3: (1, "Бронза"), 5: (2, "Срібло"), 7: (3, "Золото")}
"""The loyalty levels: id and name by percent of discount."""


def full_name(rng: Random) -> str:
    """Return a first and a last name."""
    return f"{_FIRST[int(rng.random() * len(_FIRST))]} {_LAST[int(rng.random() * len(_LAST))]}"


def phone(number: int) -> str:
    """Return the phone with this number. The operator code 00 does not exist, so a call reaches no person."""
    return f"+38000{number:07}"


def new_buyer(rng: Random, id: int, *, at: int, wholesale: bool) -> Buyer:
    """Return the card of a new buyer."""
    name = full_name(rng)
    draw = rng.random()
    phones = () if draw < 0.055 else (phone(2 * id), phone(2 * id + 1)) if draw < 0.066 else (phone(2 * id),)
    emails = (f"buyer{id}@example.test",) if rng.random() < 0.3 else ()
    city = int(rng.random() * len(reference.CITIES))
    loyalty = 0 if wholesale else _LOYALTY[int(rng.random() * len(_LOYALTY))]
    card = Buyer(id, name, phones, emails, city, at, at, [], loyalty=loyalty, is_wholesale=wholesale)
    if wholesale:
        card.manager_id, card.company_id = reference.WHOLESALE_MANAGER, 1 + id % len(reference.COMPANIES)
    elif rng.random() < 0.04:
        card.birthday = moment(at - (20 * 365 + int(rng.random() * 9000)) * DAY).date().isoformat()
    return card


def duplicate(rng: Random, of: Buyer, id: int, *, at: int) -> Buyer:
    """Return a second card with the phones of ``of``, under a shorter or the same name."""
    name = of.full_name.split()[0] if rng.random() < 0.4 else of.full_name
    return Buyer(id, name, of.phones, (), of.city, at, at, [])
