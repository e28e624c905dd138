"""Messages: counts with their noun, texts that steer no terminal, and readable errors of settings. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit, urlunsplit

import msgspec

REFUSAL = re.compile(r"(?P<reason>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?", re.DOTALL)
# What may be secret in an address: a user, password, query, fragment, parameter or escaped character, or a
# port that is no number.
SECRET = re.compile(r"@|//.*[?#;=&]|//.*%(?!20)|//[^/]*:(?!\d{1,5}(/|$))(?![\da-fA-F:.]*\])", re.DOTALL)
# Characters that steer a terminal or reorder text: controls except line feed and tab, marks of direction, and
# halves of a character, which no stream can write.
STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)
# Characters of the longest value in a line of text, and of the longest line of an error or a log.
LONGEST_VALUE, LONGEST_LINE = 80, 2_000
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
    """A position in a struct: its name, type and default value."""

    kind: Any
    name: str = ""
    default: object = None


def printable(text: str) -> str:
    """Return a text that can't steer a terminal: such characters as ``\\x1b``."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def in_line(text: str, longest: int = LONGEST_VALUE) -> str:
    """Return a text of unknown origin for use in a line: no line ends, nothing that steers, and cut."""
    line = printable(text[: longest + 1].replace("\n", "\\n").replace("\t", "\\t"))
    return line if len(text) <= longest else f"{line[:longest]}… ({len(text):,} characters)"


def public_url(url: str) -> str:
    """Return an address without user, password, query and fragment, which may be secret.

    A text that is no address, or has a secret in another place, is left out as a whole.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(an address that can't be read)"
    if not parts.scheme or not host or "@" in parts.path:
        return "(an address that can't be read)"
    public = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return "(an address that can't be read)" if has_secret(public) else public


def has_secret(text: str) -> bool:
    """Return True if a setting may have a password or key in it: an address with a user or a query."""
    return bool(SECRET.search(text))


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: ``1 finding``, ``2,000 findings``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_words(error: Exception, kind: Any, values: object = None, *, under: str = "", hidden: str = "") -> str:
    """Return which key of ``values`` msgspec or tomllib refuses, and what a struct ``kind`` allows there.

    If only one field was decoded, ``under`` is its name. The list of keys omits the field ``hidden``.
    """
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"not readable as JSON: {error}"
    refusal = REFUSAL.fullmatch(str(error))
    reason, path = (refusal["reason"], refusal["path"] or "") if refusal else (str(error), "")
    spot = spot_at(f".{under}{path}" if under else path, kind, values)
    if field := re.fullmatch(r"Object (?:contains unknown|missing required) field `(.+)`", reason):
        keys = ", ".join(key for key in spot.kind.__struct_fields__ if key != hidden)
        problem = "is missing; add it" if "missing" in reason else f"is not a key here; the keys are {keys}"
        return f"{spot.name}.{field[1]} {problem}".removeprefix(".")
    name = spot.name.removeprefix(under).removeprefix(".") if under else spot.name
    return f"{name}: {correction(reason, spot)}" if name else correction(reason, spot)


def spot_at(path: str, kind: Any, values: object) -> Spot:
    """Return the position for msgspec's ``.sales_types[0].managers``; ``[...]`` is the invalid key."""
    spot = Spot(kind)
    for name, index in STEP.findall(path):
        if name:
            field = next(field for field in msgspec.structs.fields(spot.kind) if field.name == name)
            spot = Spot(field.type, f"{spot.name}.{name}".removeprefix("."), field.default)
            values = values.get(name) if isinstance(values, Mapping) else None
        elif index == "...":
            kind = get_args(spot.kind)[1]
            items = values.items() if isinstance(values, Mapping) else ()
            wrong = next((f".{key}" for key, value in items if is_wrong(value, kind)), "")
            spot = Spot(kind, spot.name + wrong)
        else:
            spot = Spot(get_args(spot.kind)[0], f"{spot.name}[{index}]")
    return spot


def is_wrong(value: object, kind: Any) -> bool:
    """True if the value is not of the type."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return True
    return False


def correction(reason: str, spot: Spot) -> str:
    """Return a library's reason in plain words, with the valid values if they are known."""
    if enum := re.fullmatch(r"Invalid enum value (.+)", reason):
        return f"{enum[1]} is not known; write one of {', '.join(map(repr, choices(spot.kind)))}"
    if "matching regex" in reason:
        return f"write it as {example(spot)}"
    if "of length >= 1" in reason:
        return "it is empty"
    reason = reason.replace("Invalid RFC3339 encoded date", "Expected `date`")
    reason = reason.replace("Cannot overwrite a value", "a key or table is defined twice")
    if expected := re.fullmatch(r"Expected (`.+?)(?:, got (.+))?", reason):
        reason = f"{expected[1]} is expected" + (f", found {expected[2]}" if expected[2] else "")
    return re.sub(r"`([^`]+)`", lambda quoted: kinds_of(quoted[1]), reason)


def example(spot: Spot) -> str:
    """Return an example of a text with a pattern: the first one of its type, or the default value."""
    metas = [meta for meta in getattr(spot.kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    return str(next((meta.examples[0] for meta in metas if meta.examples), spot.default))


def kinds_of(text: str) -> str:
    """Return the types ``str | null`` in words; without null, because TOML has none."""
    return " or ".join(KINDS.get(kind, kind) for kind in text.split(" | ") if kind != "null")


def choices(kind: Any) -> tuple[Any, ...]:
    """Return the values that a type, or the key of a mapping type, allows; empty if they are not listed."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((values for inner in get_args(kind) if (values := choices(inner))), ())
