"""Pages: Jinja templates, and how numbers and dates are written on them."""

import functools
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from lake.clock import SHOP
from lake.ledgers.status import ago
from serve.figures import percent

SPACE = "\u00a0"  # no line break inside a number
MINUS = "−"


def money(value: Decimal | None, *, kopecks: bool = True) -> str:
    """Return hryvnias as the shop writes them: ``₴ 1 234 567,50``."""
    return "–" if value is None else f"₴{SPACE}{number(value, places=2 if kopecks else 0)}"


def number(value: Decimal | int | None, *, places: int = 0) -> str:
    """Return a number with its thousands apart and a decimal comma."""
    if value is None:
        return "–"
    text = f"{abs(value):,.{places}f}".replace(",", SPACE).replace(".", ",")
    return f"{MINUS}{text}" if value < 0 and text.strip("0,") else text


def quantity(value: Decimal) -> str:
    """Return a quantity with no more places than it needs."""
    return number(value, places=0 if value == value.to_integral_value() else 3)


def signed(text: str, value: Decimal | int) -> str:
    """Return a formatted number with its sign, plus too."""
    return f"+{text}" if value > 0 else text


def day(value: date | None) -> str:
    """Return a day as it is written here: 31.03.2026."""
    return "–" if value is None else f"{value:%d.%m.%Y}"


def instant(value: datetime) -> str:
    """Return an instant as the shop's clock shows it: 31.03.2026 14:05."""
    return f"{value.astimezone(SHOP):%d.%m.%Y %H:%M}"


def share(part: Decimal, whole: Decimal) -> str:
    """Return a part in percent of the whole."""
    found = percent(part, whole)
    return "–" if found is None else f"{number(found, places=1)}{SPACE}%"


def age(seconds: int) -> str:
    """Return an age in the one unit that matters; the script goes on counting in the same way."""
    return ago(timedelta(seconds=seconds))


def kind(schema: dict[str, Any]) -> str:
    """Return a JSON Schema in a few words: ``date or null``, ``integer from 1 to 1000``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema:
        return " or ".join(kind(part) for part in schema["oneOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    name = str(schema.get("format") or schema.get("type", "anything"))
    if "minimum" not in schema:
        return name
    most = f" to {schema['maximum']}" if schema["maximum"] < 2**63 - 1 else ""
    return f"{name} from {schema['minimum']}{most}"


def ticked(text: str) -> Markup:
    """Return text with what stands in backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


FILTERS = {
    "age": age,
    "day": day,
    "instant": instant,
    "kind": kind,
    "money": money,
    "number": number,
    "quantity": quantity,
    "share": share,
    "signed": signed,
    "ticked": ticked,
}


@functools.cache
def environment() -> Environment:
    """Return the templates; a name that is missing is an error and not an empty place."""
    found = Environment(
        loader=PackageLoader("serve", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= FILTERS
    return found


def render(template: str, **facts: Any) -> str:
    """Return a page."""
    return environment().get_template(template).render(facts)
