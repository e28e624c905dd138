"""Tokens: the words, texts and brackets of a SQL statement. Pure."""

import re

import msgspec

from lake.query import quote

TOKEN = re.compile(
    r"""
      (?P<blank> \s+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<text> [eE] '(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<quoted> "(?:[^"]|"")*" )
    | (?P<plain> [\w.][\w.$]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)
# The ends of a comment, which may contain comments.
COMMENT = re.compile(r"/\*|\*/")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'"}
# An option's value that is written without quotes: a word or a number.
BARE = re.compile(r"[\w.]+")


class Token(msgspec.Struct, frozen=True):
    """A token: its text, its offsets (``end`` exclusive), and the number of brackets around it."""

    text: str
    start: int
    end: int
    depth: int

    @property
    def word(self) -> str:
        """The token in lower case; empty for a text."""
        return "" if self.is_text else self.name.lower()

    @property
    def is_text(self) -> bool:
        """True for a text in quotes."""
        return self.text[:1] in ("'", "$") or self.text[:2].lower() == "e'"

    @property
    def name(self) -> str:
        """The token as a name, without quotes."""
        return self.text[1:-1].replace('""', '"') if self.text.startswith('"') else self.text

    @property
    def value(self) -> str:
        """The value of a text."""
        if self.text.startswith("$"):
            size = self.text.index("$", 1) + 1
            return self.text[size:-size]
        if self.text.startswith("'"):
            return self.text[1:-1].replace("''", "'")
        return re.sub(
            r"\\(.)", lambda found: ESCAPES.get(found[1], found[0]), self.text[2:-1].replace("''", "'")
        )


def split(query: str) -> list[Token]:
    """Return the tokens of a statement, without blanks, comments and the semicolon at its end."""
    tokens: list[Token] = []
    depth = end = 0
    while match := TOKEN.match(query, end):
        text, end = match[0], match.end()
        if match["comment"]:
            end = end_of_comment(query, end)
        if match["blank"] or match["comment"]:
            continue
        depth -= text in (")", "]")
        tokens.append(Token(text, match.start(), match.end(), depth))
        depth += text in ("(", "[")
    return tokens[:-1] if tokens and tokens[-1].text == ";" else tokens


def end_of_comment(query: str, start: int) -> int:
    """Return the end of a comment whose content begins at ``start``; the query's end if it has none."""
    depth = 1
    for match in COMMENT.finditer(query, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return len(query)


def rest_of(query: str, tokens: list[Token], index: int) -> str:
    """Return the text of a statement from a token on; empty if there is none."""
    return query[tokens[index].start : tokens[-1].end] if tokens[index:] else ""


def closing_of(tokens: list[Token], opening: int) -> int | None:
    """Return the index of the bracket that closes the one at ``opening``; None if there is none."""
    closing = (")", tokens[opening].depth)
    later = range(opening + 1, len(tokens))
    return next((index for index in later if (tokens[index].text, tokens[index].depth) == closing), None)


def values_of(tokens: list[Token]) -> dict[str, str] | None:
    """Return ``{option: SQL of its value}`` of options in brackets; None if they have another form."""
    if len(tokens) < 2 or tokens[0].text != "(" or tokens[-1].text != ")" or tokens[-1].depth:
        return None
    parts: list[list[Token]] = [[]]
    for token in tokens[1:-1]:
        if token.text == "," and token.depth == 1:
            parts.append([])
        else:
            parts[-1].append(token)
    options = {part[0].word: value_of(part[1:]) for part in parts if part}
    values = {name: value for name, value in options.items() if value is not None}
    return values if len(values) == len(parts) and all(map(str.isidentifier, values)) else None


def value_of(tokens: list[Token]) -> str | None:
    """Return the SQL of an option's value: empty for none, a text, a word, or names in brackets."""
    if tokens and tokens[0].text in ("(", "[") and tokens[-1].text in (")", "]"):
        names = [token for token in tokens[1:-1] if token.text != ","]
        return None if any(token.is_text for token in names) else f"({quote_names(names)})"
    if len(tokens) > 1:
        return None
    if not tokens or tokens[0].text == "*":
        return tokens[0].text if tokens else ""
    [token] = tokens
    if token.is_text:
        return quote.literal(token.value)
    return token.text if BARE.fullmatch(token.text) else quote.name(token.name)


def quote_names(tokens: list[Token]) -> str:
    """Return names in quotes, separated by commas; ``*`` stays."""
    return ", ".join("*" if token.text == "*" else quote.name(token.name) for token in tokens)
