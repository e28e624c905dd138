"""Wording: how many of something, and what is wrong with a setting or a header, as a person says it. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

REFUSED = re.compile(r"(?P<reason>.*?)(?: - at (?:`key` in )?`\$(?P<place>.*)`)?", re.DOTALL)
STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list in [ ]",
    "object": "a table of keys",
    "date": "a date as 2026-05-01",
}


class Spot(msgspec.Struct):
    """A place in a struct: what it is called, of which type it is, and what it is by default."""

    kind: Any
    name: str = ""
    default: object = None


def counted(number: int, noun: str) -> str:
    """Return ``1 finding``, ``2,000 findings``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_words(error: Exception, kind: Any, values: object = None, *, under: str = "", hidden: str = "") -> str:
    """Return where msgspec or tomllib refuses ``values`` of a struct ``kind``, and what is right there.

    ``under`` is the field, where the value of one was looked at. No one is told of the field ``hidden``.
    """
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"not readable as JSON: {error}"
    refused = REFUSED.fullmatch(str(error))
    reason, place = (refused["reason"], refused["place"] or "") if refused else (str(error), "")
    spot = spot_at(f".{under}{place}" if under else place, kind, values)
    if unknown := re.fullmatch(r"Object (?:contains unknown|missing required) field `(.+)`", reason):
        keys = ", ".join(key for key in spot.kind.__struct_fields__ if key != hidden)
        said = "is missing" if "missing" in reason else f"is no key here; the keys are {keys}"
        return f"{spot.name}.{unknown[1]} {said}".removeprefix(".")
    name = spot.name.removeprefix(under).removeprefix(".") if under else spot.name
    return f"{name}: {right(reason, spot)}" if name else right(reason, spot)


def spot_at(place: str, kind: Any, values: object) -> Spot:
    """Return what msgspec means by ``.sales_types[0].managers``; for ``[...]`` the key that is wrong."""
    spot = Spot(kind)
    for field, index in STEP.findall(place):
        if field:
            found = next(one for one in msgspec.structs.fields(spot.kind) if one.name == field)
            spot = Spot(found.type, f"{spot.name}.{field}".removeprefix("."), found.default)
            values = values.get(field) if isinstance(values, Mapping) else None
        elif index == "...":
            kind = get_args(spot.kind)[1]
            known = values.items() if isinstance(values, Mapping) else ()
            wrong = next((f".{key}" for key, value in known if is_wrong(value, kind)), "")
            spot = Spot(kind, spot.name + wrong)
        else:
            spot = Spot(get_args(spot.kind)[0], f"{spot.name}[{index}]")
    return spot


def is_wrong(value: object, kind: Any) -> bool:
    """True where the value is not of the type."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return True
    return False


def right(reason: str, spot: Spot) -> str:
    """Return what a library says is wrong, and what is right, in words."""
    if enum := re.fullmatch(r"Invalid enum value (.+)", reason):
        return f"{enum[1]} is not known; write one of {', '.join(map(repr, choices(spot.kind)))}"
    if "matching regex" in reason:
        return f"write it as {spot.default}"
    if "of length >= 1" in reason:
        return "it is empty"
    reason = reason.replace("Invalid RFC3339 encoded date", "Expected `date`")
    reason = reason.replace("Cannot overwrite a value", "something is written twice")
    if found := re.fullmatch(r"Expected (`.+?)(?:, got (.+))?", reason):
        reason = f"{found[1]} is expected" + (f", found {found[2]}" if found[2] else "")
    return re.sub(r"`([^`]+)`", lambda found: kinds_of(found[1]), reason)


def kinds_of(text: str) -> str:
    """Return the types ``str | null`` in words; a key that may be left out is never null in TOML."""
    return " or ".join(KINDS.get(kind, kind) for kind in text.split(" | ") if kind != "null")


def choices(kind: Any) -> tuple[Any, ...]:
    """Return the words that a type, or a key of it, can be."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((found for inner in get_args(kind) if (found := choices(inner))), ())
