"""The catalogue: the products of opening day, and products added later."""

from random import Random

import msgspec

from ingest.sandbox.records import Category, Offer, Product
from ingest.sandbox.stamps import DAY

PRODUCTS = 860
ONE_OFFS = (
    "Подарункова упаковка",
    "Пробник у подарунок",
    "Листівка",
    "Набір на замовлення",
    "Доплата за різницю",
)
"""Lines that are sold by name only and have no product in the catalogue."""

BRANDS = (
    "Лелека", "Мальва", "Рисова Роса", "Полин", "Чебрець", "Мавка", "Роса & Сіль", "Калина", "Барвінок",
    "Зілля", "Липа", "Сонях", "Вечорниця", "Ранкова", "Півонія", "Ожина", "Туман", "Сніговія", "Берегиня",
    "Лісова", "Hanbang Garden", "Moss & Rice", "Camellia Lab", "Tide Skin", "Nord Birch", "О'Льон",
)  # fmt: skip
_KINDS = (
    ("Сироватка", 1, (38900, 129000), "30 мл"), ("Тонер", 2, (29900, 89000), "150 мл"),
    ("Крем для обличчя", 3, (34900, 149000), "50 мл"), ("Пінка для вмивання", 4, (24900, 69000), "120 мл"),
    ("Маска тканинна", 5, (6900, 14900), "1 шт"), ("Сонцезахисний крем SPF 50", 6, (44900, 99000), "50 мл"),
    ("Шампунь", 8, (27900, 74900), "300 мл"), ("Бальзам для волосся", 9, (27900, 79900), "300 мл"),
    ("Олія для тіла", 11, (32900, 69900), "100 мл"), ("Крем для рук", 12, (12900, 28500), "75 мл"),
    ("Патчі під очі", 13, (39900, 84900), "60 шт"), ("Бальзам для губ", 14, (9900, 24900), "10 г"),
    ("Скраб для тіла", 11, (25900, 54900), "200 мл"), ("Есенція", 1, (45900, 119000), "100 мл"),
)  # fmt: skip
_ACTIVES = (
    "з ніацинамідом", "з рисом", "з центелою", "з пантенолом", "з вітаміном C", "з ретинолом", "з алое",
    "з колагеном", "з гіалуроновою кислотою", "з чайним деревом", "з пептидами", "з прополісом", "з полином",
)  # fmt: skip
_VARIANTS = ("30 мл", "50 мл", "100 мл", "250 мл")
_CATEGORIES = (
    (1, "Сироватки та есенції", 100),
    (2, "Тонери", 100),
    (3, "Креми", 100),
    (4, "Очищення", 100),
    (5, "Маски", 100),
    (6, "Сонцезахист", 100),
    (8, "Шампуні", 101),
    (9, "Бальзами", 101),
    (11, "Догляд за тілом", 0),
    (12, "Руки", 0),
    (13, "Патчі", 100),
    (14, "Губи", 0),
    (100, "Догляд за обличчям", 0),
    (101, "Волосся", 0),
    (102, "Акції", 0),
)


class Shelves(msgspec.Struct):
    """The catalogue: categories, products by id, and offers at position id − 1."""

    categories: dict[int, Category]
    products: dict[int, Product]
    offers: list[Offer]


def stocked(rng: Random, *, opened: int, offer_for_every: bool) -> Shelves:
    """Return the catalogue of opening day; ``opened`` is its time."""
    shelves = Shelves({id: Category(id, name, parent) for id, name, parent in _CATEGORIES}, {}, [])
    for _ in range(PRODUCTS):
        product = new_product(rng, shelves, at=opened - rng.randrange(1, 250) * DAY - rng.randrange(DAY))
        # Draw even if the setting makes it unnecessary, so that the setting changes nothing else in the shop.
        hidden = rng.random() < 0.75
        product.offers[0].is_listed = offer_for_every or product.has_offers or not hidden
    return shelves


def new_product(rng: Random, shelves: Shelves, *, at: int) -> Product:
    """Add one product to the catalogue and return it."""
    id = len(shelves.products) + 1
    by_weight = rng.random() < 0.01
    kind, category, (low, high), volume = rng.choice(_KINDS)
    brand = rng.choice(BRANDS)
    name = f"{kind} «{brand}» {rng.choice(_ACTIVES)}, {volume}"
    price = rng.randrange(low, high, 1000) + rng.choice((0, 0, 0, 500, 900, 990))
    if by_weight:
        name, price = f"Сіль для ванн «{brand}», на вагу", rng.randrange(80, 200, 4) * 100
    product = Product(
        id, name, category if rng.random() < 0.45 else 0, brand, "value", (), at, at,
        unit_type="кг" if by_weight else None,
    )  # fmt: skip
    _label(rng, product)
    product.has_offers = not by_weight and rng.random() < 0.12
    product.offers = tuple(_offers(rng, shelves, product, price))
    shelves.products[id] = product
    shelves.offers.extend(product.offers)
    return product


def _label(rng: Random, product: Product) -> None:
    """Remove the brand from some products: 5 % have no field, 3 % have an empty one."""
    draw = rng.random()
    if draw < 0.05:
        product.brand, product.brand_form = None, "absent"
    elif draw < 0.08:
        product.brand, product.brand_form = None, "empty"


def _offers(rng: Random, shelves: Shelves, product: Product, price: int) -> list[Offer]:
    first = len(shelves.offers) + 1
    if not product.has_offers:
        return [_offer(rng, first, product.id, price, None)]
    sizes = _VARIANTS[: rng.randrange(2, 5)]
    return [
        _offer(rng, first + at, product.id, price * (10 + 6 * at) // 10, size)
        for at, size in enumerate(sizes)
    ]


def _offer(rng: Random, id: int, product_id: int, price: int, volume: str | None) -> Offer:
    cost = None if rng.random() < 0.02 else price * rng.randrange(38, 62) // 100
    sku = None if rng.random() < 0.01 else f"KL-{product_id:04}" + (f"-{volume.split()[0]}" if volume else "")
    return Offer(id, product_id, sku, price, cost, (140 + rng.randrange(20, 400)) * 1000, 0, 0, 0, volume)
