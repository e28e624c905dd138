"""Mending: text that is nearly JSON, as the JSON that it means. Pure.

One broken character must not cost more than its field. So a page that the decoder refuses is divided
into its rows, and each row is mended by itself: control characters, cut emojis, quotes and bytes that
are no UTF-8 inside a text become text, and a value that is no JSON becomes ``{"not_json": its text}``,
which no field can be read from. Only rows that the decoder refuses come here.
"""

import json
import re
from collections.abc import Iterator
from typing import NoReturn

import msgspec

# Errors of decoding: of msgspec for broken JSON, of Python for broken UTF-8, deep nesting and absurd numbers.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
# Levels of lists and objects in a row; the deepest documented value is at the fifth.
DEEPEST = 64
# Characters of a number; a number with more, or one that is too large for a float, becomes a text.
LONGEST_NUMBER = 200
# Characters of a field's name that a finding shows.
LONGEST_NAME = 60
NOT_JSON = "not_json"
# Character in place of bytes and escapes that are no text.
REPLACEMENT = "\ufffd"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

SPACE = re.compile(r"[ \t\r\n]*")
# A text ends at a quote that is followed by what follows a text. In valid JSON that is its first quote.
TEXT = re.compile(r'"((?:[^"\\]|\\.|"(?!\s*(?:[,:}\]]|\Z)))*+)"', re.DOTALL)
# A word or a number, its whole text and its exponent.
NUMBER = r"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?)"
WORD = re.compile(rf"(?:true|false|null|{NUMBER})(?=[\s,}}\]]|\Z)")
# Texts, which are passed over, and the marks between values. In the first pattern a text ends at its first
# quote, so one with a quote inside hides marks that follow it; in the second one, it ends as in TEXT.
MARKS = tuple(re.compile(rf"{text}|[\[\]{{}},]", re.DOTALL) for text in (r'"(?:[^"\\]|\\.)*+"', TEXT.pattern))
KEY = re.compile(r'"\s*:')
CLOSING = {"[": "]", "{": "}"}
# The escapes that JSON has, a pair of surrogates among them; half of a pair, as an escape or as a byte that
# is no UTF-8; and what JSON does not allow in a text: control characters, other escapes and quotes.
HIGH, LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
ESCAPE = r"\\(?:[\"\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})"
LOST = re.compile(r"[\ud800-\udfff]")
FAULT = re.compile(
    rf'(?P<fine>{HIGH}{LOW}|{ESCAPE})|(?P<lost>{HIGH}|{LOW}|{LOST.pattern})|(?P<literal>[\x00-\x1f"\\])'
)


class Mended(msgspec.Struct, frozen=True):
    """Valid JSON of an object, and its fields that had to be mended, by their path.

    The value of a field is False if it is no JSON.
    """

    payload: bytes
    fields: dict[str, bool]


class NotJson(ValueError):
    """A text has no plain meaning as JSON."""


def mend(payload: bytes) -> Mended:
    """Return the payload as valid JSON. Raises NotJson if it is no object, or one without an end."""
    mender = Mender(text_of(payload))
    return Mended(mender.mend().encode(), mender.fields)


def page_parts(body: bytes) -> tuple[dict[str, bytes], list[bytes]]:
    """Return the fields of a page as JSON, and the bytes of each of its rows.

    Raises NotJson if the body is not one whole object with rows in a list ``data``, or in an object with
    numbers as keys: a page that is cut off has no rows.
    """
    divisions: list[tuple[dict[str, bytes], list[bytes]]] = []
    for marks in MARKS:
        try:
            divisions.append(divide_page(text_of(body), marks))
        except NotJson:
            if not divisions and marks is MARKS[-1]:
                raise
    # The division that costs the fewest rows.
    return min(divisions, key=lambda parts: (unreadable_rows(parts[1]), -len(parts[1])))


def divide_page(text: str, marks: re.Pattern[str]) -> tuple[dict[str, bytes], list[bytes]]:
    """Return the fields and the rows of a page like ``page_parts``."""
    fields = dict(members(text, marks))
    data = fields.pop("data", "")
    if data.startswith("["):
        rows = list(elements(data, marks))
    else:
        pairs = list(members(data, marks))
        if not all(key.isdigit() for key, _ in pairs):
            raise NotJson("its data is no list")
        rows = [row for _, row in pairs]
    return {name: envelope_value(value) for name, value in fields.items()}, list(map(bytes_of, rows))


def unreadable_rows(rows: list[bytes]) -> int:
    """Return how many rows have no plain meaning."""
    return sum(not is_readable(row) for row in rows)


def is_readable(row: bytes) -> bool:
    """Return True if a row has a plain meaning as JSON."""
    try:
        msgspec.json.decode(row)
        return True
    except DECODE_ERRORS:
        pass
    try:
        mend(row)
    except NotJson:
        return False
    return True


def envelope_value(text: str) -> bytes:
    """Return a field of a page as JSON; null if it is none."""
    try:
        return Mender(text).mend().encode()
    except NotJson:
        return b"null"


def text_of(body: bytes) -> str:
    """Return bytes as text without a byte order mark; bytes that are no UTF-8 become surrogates."""
    return body.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape").strip(" \t\r\n")


def bytes_of(text: str) -> bytes:
    """Return the bytes that ``text_of`` had."""
    return text.encode("utf-8", "surrogateescape")


def members(text: str, marks: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys and values of the object that is all of a text, as they are written. Raises NotJson."""
    if not text.startswith("{"):
        raise NotJson("it is no object")
    place = 1
    while True:
        place = after_space(text, place)
        if text.startswith("}", place):
            break
        key = TEXT.match(text, place)
        place = after_space(text, key.end()) if key else place
        if key is None or not text.startswith(":", place):
            raise NotJson("it has a key that is none")
        begin = after_space(text, place + 1)
        place = value_end(text, begin, marks)
        yield key[1], text[begin:place].rstrip()
        if text.startswith(",", place):
            place += 1
        elif not text.startswith("}", place):
            raise NotJson("a bracket ends another one")
    if place + 1 != len(text):
        raise NotJson("something follows it")


def elements(text: str, marks: re.Pattern[str]) -> Iterator[str]:
    """Yield the elements of the list that is all of a text, as they are written. Raises NotJson."""
    place = after_space(text, 1)
    while not text.startswith("]", place):
        end = value_end(text, place, marks)
        if text.startswith("}", end):
            raise NotJson("a bracket ends another one")
        yield text[place:end].rstrip()
        place = end if text.startswith("]", end) else after_space(text, end + 1)
    if place + 1 != len(text):
        raise NotJson("something follows its list")


def value_end(text: str, start: int, marks: re.Pattern[str]) -> int:
    """Return the place of the comma or bracket that ends a value. Raises NotJson if there is none."""
    expected: list[str] = []
    for match in marks.finditer(text, start):
        mark = match[0]
        if mark in CLOSING:
            expected.append(CLOSING[mark])
        elif mark in ("]", "}"):
            if mark not in expected:
                return match.start()
            while expected.pop() != mark:  # a list without an end is in the object that ends here
                pass
        elif mark == "," and not expected:
            return match.start()
    raise NotJson("it is cut off")


def after_space(text: str, place: int) -> int:
    """Return the next place that is no white space."""
    match = SPACE.match(text, place)
    return match.end() if match else place


class Mender:
    """Writes one JSON value again as valid JSON. ``fields`` are the mended ones, see ``Mended``."""

    def __init__(self, text: str) -> None:
        self.fields: dict[str, bool] = {}
        self._text = text
        self._place = 0

    def mend(self) -> str:
        """Return the value. Raises NotJson if it has no plain meaning, or if something follows it."""
        mended = self._value("", 0)
        if after_space(self._text, self._place) != len(self._text):
            raise NotJson("something follows it")
        return mended

    def _value(self, path: str, depth: int) -> str:
        """Return the value at the place, which moves to its end."""
        start = self._place = after_space(self._text, self._place)
        first = self._text[start : start + 1]
        text = TEXT.match(self._text, start)
        if text and not self._text.startswith(":", after_space(self._text, text.end())):
            self._place = text.end()
            return self._mend_text(text[1], path)
        if word := WORD.match(self._text, start):
            self._place = word.end()
            return self._number(word, path) if word[1] else word[0]
        if first in CLOSING and depth < DEEPEST:
            try:
                return self._container(first, path, depth)
            except NotJson:
                if not depth:
                    raise
                self._place = start
        return self._no_json(path, depth)

    def _container(self, opening: str, path: str, depth: int) -> str:
        """Return the list or object at the place."""
        self._place += 1
        parts: list[str] = []
        while True:
            self._skip_space()
            if self._takes(CLOSING[opening]):
                if parts:  # a comma after the last element
                    self._note(path, is_read=True)
                break
            key, inner = self._key(path) if opening == "{" else ("", path)
            parts.append(key + self._value(inner, depth + 1))
            self._skip_space()
            if self._takes(CLOSING[opening]):
                break
            if not self._takes(","):
                self._fail("has a value without a comma")
        return opening + ",".join(parts) + CLOSING[opening]

    def _key(self, path: str) -> tuple[str, str]:
        """Return the key at the place with its colon, and the path of its value."""
        key = TEXT.match(self._text, self._place)
        if key is None:
            self._fail("has a key that is none")
        self._place = key.end()
        name = re.sub(r"[^\w-]", "?", key[1])[:LONGEST_NAME]
        inner = path if name.isdigit() else f"{path}.{name}".lstrip(".")
        text = self._mend_text(key[1], inner)
        self._skip_space()
        if not self._takes(":"):
            self._fail("has a key without a value")
        return text + ":", inner

    def _mend_text(self, text: str, path: str) -> str:
        """Return a text in quotes, without what JSON does not allow in it."""
        mended = FAULT.sub(self._fault, text)
        if mended != text:
            self._note(path, is_read=True)
        return f'"{mended}"'

    @staticmethod
    def _fault(match: re.Match[str]) -> str:
        """Return a faultless escape as it is, a lost character as U+FFFD, and another one escaped."""
        if match["fine"]:
            return match["fine"]
        return REPLACEMENT if match["lost"] else json.dumps(match["literal"])[1:-1]

    def _number(self, word: re.Match[str], path: str) -> str:
        """Return a number; as a text if a decoder can't have it."""
        exponent = word[2] or ""
        # A positive exponent of three digits is beyond a float; a negative one is only small.
        if len(word[1]) <= LONGEST_NUMBER and len(exponent.lstrip("+")) < (5 if "-" in exponent else 3):
            return word[1]
        self._note(path, is_read=True)
        return f'"{word[1]}"'

    def _no_json(self, path: str, depth: int) -> str:
        """Return the text of a value that is no JSON, as an object that no field can be read from."""
        if not depth:
            self._fail("is no object")
        start = self._place
        self._place = value_end(self._text, start, MARKS[0])
        text = LOST.sub(REPLACEMENT, self._text[start : self._place].rstrip())
        if text[:1] not in CLOSING and KEY.search(text):
            self._fail("has other fields in a value")
        self._note(path, is_read=False)
        return json.dumps({NOT_JSON: text}, ensure_ascii=False, separators=(",", ":"))

    def _takes(self, mark: str) -> bool:
        """Move behind a mark if it is at the place."""
        is_there = self._text.startswith(mark, self._place)
        self._place += is_there
        return is_there

    def _skip_space(self) -> None:
        self._place = after_space(self._text, self._place)

    def _note(self, path: str, *, is_read: bool) -> None:
        if path:
            self.fields[path] = self.fields.get(path, True) and is_read

    def _fail(self, fault: str) -> NoReturn:
        raise NotJson(f"the text {fault}, at character {self._place}")
