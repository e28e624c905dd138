"""The reference lists of a new shop: channels, statuses, managers, expense types and others."""

from ingest.sandbox.records import ExpenseType, Manager, Source, Status
from ingest.sandbox.stamps import DAY

INSTAGRAM, TELEGRAM, OPENCART, SHOPIFY, FAIR = 1, 2, 3, 4, 5
WHOLESALE_MANAGER = 15
NEW_STATUS_AFTER = 40 * DAY
"""Seconds from the opening until the shop starts to use an unannounced status (20)."""

MERGED_NAME = "Об’єднання замовлень"
"""The apostrophe is U+2019, as the CRM's interface types it."""

_SOURCES: tuple[tuple[int, str, str, str, str | None, str | None], ...] = (
    (INSTAGRAM, "Instagram", "instagram", "other", None, None),
    (TELEGRAM, "Telegram", "telegram", "other", None, None),
    (OPENCART, "Opencart", "opencart", "opencart", "512", "stara-vitryna.example"),
    (SHOPIFY, "Shopify", "shopify", "shopify", "71002", "kramnytsia.example"),
    (FAIR, "Виставка", "vystavka", "other", None, None),
)

# id, alias, label, group, closes the order, reserves stock
_STATUSES = (
    (1, "new", "Новий", 1, False, True),
    (2, "presence_confirmed", "Наявність підтверджено", 2, False, True),
    (3, "waiting_for_email_response", "Чекаємо відповіді", 2, False, True),
    (4, "waiting_for_prepayment", "Чекаємо передплати", 2, False, True),
    (5, "passed_to_production", "Передано на комплектацію", 3, False, True),
    (8, "delivered_to_delivery", "Передано в доставку", 4, False, True),
    (9, "delivered", "Доставлено", 4, False, True),
    (10, "departing", "Відправляється", 4, False, True),
    (11, "in_transit", "У дорозі", 4, False, True),
    (12, "completed", "Виконано", 5, True, True),
    (13, "incorrect_data", "Невірні дані", 6, True, False),
    (14, "not_reached", "Не додзвонилися", 6, True, False),
    (15, "not_available", "Немає в наявності", 6, True, False),
    (18, "did_not_arrange_price", "Не влаштувала ціна", 6, True, False),
    (19, "canceled", "Скасовано", 6, True, False),
    (21, "dostavka_ne_vdalasia", "Доставка не вдалася", 6, True, False),
    (22, "poverneno", "Повернено", 6, True, False),
    (23, "povertaietsia", "Повертається", 6, False, False),
    (24, "obiednannia_zamovlen", MERGED_NAME, 6, True, False),
)
RETIRED_STATUS = (25, "peredzvonyty", "Передзвонити", 2, False, True)
"""A status of old orders that is switched off, so the list of statuses does not have it."""
LATE_STATUS = (20, "chekaie_u_viddilenni", "Чекає у відділенні", 4, False, True)
_FIRST_CUSTOM = 20

# id, first name, last name, role, status
_MANAGERS = (
    (1, "Власник", None, 1, "active"),
    (4, "Менеджерка", "Четверта", 2, "active"),
    (8, "Менеджер", "Восьмий", 2, "active"),
    (11, "Менеджерка", "Одинадцята", 2, "blocked"),
    (15, "Менеджер", "Гуртовий", 3, "active"),
    (16, "Менеджерка", "Шістнадцята", 2, "active"),
    (17, "Стажерка", "Сімнадцята", 2, "pending"),
    (22, "Менеджерка", "Двадцять Друга", 2, "active"),
)

_EXPENSE_TYPES = (
    (1, "dictionaries.expense_types.delivery", "delivery", True, True),
    (2, "dictionaries.expense_types.packing", "packing", True, True),
    (3, "Комісія еквайрингу", "komisiia_ekvairynhu", False, True),
    (4, "Реклама у блогерів", "reklama_u_blogeriv", False, True),
    (5, "Комісія маркетплейсу", "komisiia_marketpleisu", False, False),
)
DELIVERY, PACKING, ACQUIRING, BLOGGERS = 1, 2, 3, 4

PAYMENT_METHODS = (
    (1, "Готівка", "hotivka", True),
    (2, "Картка на сайті", "kartka_na_saiti", True),
    (3, "Накладений платіж", "nakladenyi_platizh", True),
    (4, "Рахунок", "rakhunok", True),
)
TAGS = (
    (1, "Блогер", "bloger", "#E6A23C"),
    (2, "Опт", "opt", "#409EFF"),
    (3, "Терміново", "terminovo", "#F56C6C"),
)
ROLES = {1: ("Власник", "owner"), 2: ("Менеджер", "manager"), 3: ("Гуртовий відділ", "wholesale")}

CUSTOM_FIELDS = (
    (3, "CT_1001", "Brand", "crm_product", "select", ("Лелека", "Мальва")),
    (4, "CT_1002", "Лінія", "crm_product", "text", ()),
    (5, "CT_1005", "Тип покупця", "client", "select", ("Роздріб", "Гурт")),
    (9, "OR_1001", "Коробка", "order", "select", ("Мала", "Велика")),
)
"""Custom fields of the shop: id, uuid, name, model, type, options."""

CAMPAIGNS = (
    (None, None, None),
    ("instagram", "cpc", "vesna"),
    ("instagram", "social", "bio"),
    ("google", "cpc", "brand"),
    ("facebook", "cpc", "remarketing"),
    ("newsletter", "email", "novynky"),
)
"""utm source, medium and campaign; the first one is a direct visit."""

CITIES = (
    ("Київ", "Київська"),
    ("Львів", "Львівська"),
    ("Одеса", "Одеська"),
    ("Харків", "Харківська"),
    ("Дніпро", "Дніпропетровська"),
    ("Полтава", "Полтавська"),
    ("Вінниця", "Вінницька"),
    ("Луцьк", "Волинська"),
    ("Кам’янець-Подільський", "Хмельницька"),
    ("Івано-Франківськ", "Івано-Франківська"),
)

COMPANIES = (
    (1, "Салон «Зразок»", "ТОВ «Зразок»"),
    (2, "Мережа «Приклад»", "ТОВ «Приклад Груп»"),
    (3, "Студія «Макет»", "ФОП Макет"),
)


def sources(opened: int) -> dict[int, Source]:
    """Return the five channels, by id."""
    since = opened - 300 * DAY
    return {row[0]: Source(*row, since, since) for row in _SOURCES}


def status(row: tuple[int, str, str, int, bool, bool], at: int, *, labels: bool) -> Status:
    """Return one status created at ``at``; built-in ones are named by their alias unless ``labels``."""
    id, alias, label, group, closing, reserved = row
    name = label if labels or id >= _FIRST_CUSTOM else alias
    return Status(id, name, alias, group, closing, reserved, at, at, label)


def statuses(opened: int, *, labels: bool) -> dict[int, Status]:
    """Return the statuses of opening day by id; a retired one is among them."""
    found = {row[0]: status(row, opened - 300 * DAY, labels=labels) for row in _STATUSES}
    retired = status(RETIRED_STATUS, opened - 300 * DAY, labels=labels)
    retired.is_active = False
    return found | {retired.id: retired}


def managers(opened: int) -> dict[int, Manager]:
    """Return the users of the CRM, by id."""
    since = opened - 200 * DAY
    return {
        id: Manager(
            id, first, last, f"manager{id}", role, state, since, since, opened if state == "active" else 0
        )
        for id, first, last, role, state in _MANAGERS
    }


def expense_types() -> dict[int, ExpenseType]:
    """Return the expense types, by id."""
    return {
        id: ExpenseType(id, name, alias, reserved, active)
        for id, name, alias, reserved, active in _EXPENSE_TYPES
    }
