"""Pages: the Jinja templates, and the format of numbers and dates in them."""

import functools
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup, escape

from lake.clock import shop_zone
from lake.ledgers.status import ago
from lake.releases.currency import sign
from lake.releases.uncounted import Uncounted
from serve.figures import percent

SPACE = "\u00a0"  # no line break inside a number
MINUS = "−"


@pass_context
def money(context: Context, value: Decimal | None) -> str:
    """Return an amount in the currency of the page: sign and number; a dash for None."""
    return "–" if value is None else amount(value, context["currency"])


def amount(value: Decimal, currency: str) -> str:
    """Return an amount in the shop's format, with the sign of its currency."""
    return f"{sign(currency)}{SPACE}{number(value, places=2)}"


def uncounted(value: Uncounted) -> str:
    """Return the line about the records that are in no number; empty if there are none."""
    return value.line(amount)


def number(value: Decimal | int | None, *, places: int = 0) -> str:
    """Return a number with a space between thousands and a decimal comma; a dash for None."""
    if value is None:
        return "–"
    text = f"{abs(value):,.{places}f}".replace(",", SPACE).replace(".", ",")
    return f"{MINUS}{text}" if value < 0 and text.strip("0,") else text


def quantity(value: Decimal) -> str:
    """Return a quantity: a whole number without decimal places, any other with three."""
    return number(value, places=0 if value == value.to_integral_value() else 3)


def plus_sign(text: str, value: Decimal | int) -> str:
    """Return the formatted text, with a plus sign if ``value`` is positive."""
    return f"+{text}" if value > 0 else text


def day(value: date | None) -> str:
    """Return a day in the shop's format: 31.03.2026; a dash for None."""
    return "–" if value is None else f"{value:%d.%m.%Y}"


def instant(value: datetime) -> str:
    """Return an instant in the shop's time zone: 31.03.2026 14:05."""
    return f"{value.astimezone(shop_zone()):%d.%m.%Y %H:%M}"


def share(part: Decimal, whole: Decimal) -> str:
    """Return a part in percent of the whole: ``12,5 %``; a dash if the whole is 0."""
    value = percent(part, whole)
    return "–" if value is None else f"{number(value, places=1)}{SPACE}%"


def age(seconds: int) -> str:
    """Return an age in its largest unit; ``age`` in app.js uses the same units."""
    return ago(timedelta(seconds=seconds))


def kind(schema: dict[str, Any]) -> str:
    """Return a JSON Schema as short text: ``date or null``, ``integer from 1 to 1000``."""
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


def code_spans(text: str) -> Markup:
    """Return escaped HTML of a text; each part between backticks becomes a ``code`` element."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


FILTERS = {
    "age": age,
    "code_spans": code_spans,
    "day": day,
    "instant": instant,
    "kind": kind,
    "money": money,
    "number": number,
    "plus_sign": plus_sign,
    "quantity": quantity,
    "share": share,
    "uncounted": uncounted,
}


@functools.cache
def environment() -> Environment:
    """Return the templates; a variable that is not defined raises an error."""
    templates = Environment(
        loader=PackageLoader("serve", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= FILTERS
    return templates


def render(template: str, **facts: Any) -> str:
    """Return a page, rendered from a template and its variables."""
    return environment().get_template(template).render(facts)
