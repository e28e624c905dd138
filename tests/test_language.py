"""The text that people read is plain technical English, counted over the whole project.

Counted are docstrings, comments, messages, SQL headers, settings and Markdown. Run
``python -m tests.test_language`` to list each occurrence, or add paths to list only theirs.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SELF = Path(__file__)
SUFFIXES = (".py", ".sql", ".toml", ".md", ".yml", ".yaml", ".service", ".html")
NAMES = ("justfile", "Dockerfile")
SKIPPED = {".git", ".venv", "data", "build", "node_modules"}

# Old, literary or household words, for which docs/glossary.md has the field's word.
LISTED = re.compile(
    r"\b(anew|nobody|somebody|whoever|said|says|told|held|gone|beside|meanwhile"
    r"|at once|at hand|by way of|without a word)\b",
    re.IGNORECASE,
)
IF = re.compile(r"\bif\b", re.IGNORECASE)
WHERE = re.compile(r"\b[wW]here\b")
# A "where" after one of these words, or at the start of a question or heading, is about a place.
PLACE = re.compile(
    r"\b(place|folder|file|path|address|page|point|line|row|column|position|module|table|store|bucket|lake"
    r"|machine|know|knows|out|see|shows?|tells?|says?|from|of|and|to|exactly|is|are|finds?|found|decides?)"
    r",? where$",
    re.IGNORECASE,
)
SQL = re.compile(r"\b(select|group by|order by|join|limit \d)\b|::|<>|\bwhere \S+ (is|in|not|=|<|>)")
WORD = re.compile(r"[A-Za-z][A-Za-z']*")
CODE = re.compile(r"``[^`]*``|`[^`]*`|\{[^{}]*\}|https?://\S+")

# Counts may only fall. If yours is lower, lower the number here in the same change.
MOST_LISTED = 5
MOST_CONDITIONAL_WHERE = 4
# Occurrences per 1,000 words.
LEAST_IF = 6.0
LISTED_RATE = 2.5
WHERE_RATE = 0.5


class Text(NamedTuple):
    """One stretch of prose: its file, its first line (from 1), and its words without code."""

    path: Path
    line: int
    words: str


class Count(NamedTuple):
    """The words of a text, and the places (file, line, word) of what is counted in it."""

    words: int
    ifs: int
    listed: tuple[tuple[Path, int, str], ...]
    where: tuple[tuple[Path, int, str], ...]

    def rate(self, number: int) -> float:
        """Return a number of occurrences per 1,000 words."""
        return 1000 * number / max(self.words, 1)


def project_files(chosen: Sequence[str] = ()) -> list[Path]:
    """Return the files that hold prose, below the chosen paths or in the whole project."""
    roots = [Path(name).resolve() for name in chosen] or [ROOT]
    files = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*"))]
    return sorted(
        file
        for file in files
        if file.is_file()
        and (file.suffix in SUFFIXES or file.name in NAMES)
        and not SKIPPED & set(file.relative_to(ROOT).parts)
        and ".egg-info" not in str(file)
        and file != SELF
    )


def texts(file: Path) -> Iterator[Text]:
    """Yield the prose of a file."""
    content = file.read_text("utf-8")
    if file.suffix == ".py":
        yield from python_texts(file, content)
    elif file.suffix == ".sql":
        yield from sql_texts(file, content)
    elif file.suffix == ".md":
        prose = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), content, flags=re.DOTALL)
        yield Text(file, 1, prose)
    elif file.suffix == ".html":
        yield Text(file, 1, re.sub(r"<[^>]*>|\{%.*?%\}|\{\{.*?\}\}", " ", content))
    else:
        for number, line in enumerate(content.splitlines(), 1):
            if "#" in line:
                yield Text(file, number, line.split("#", 1)[1])


def python_texts(file: Path, content: str) -> Iterator[Text]:
    """Yield docstrings, comments, and outside the tests the strings that read like messages."""
    tree = ast.parse(content)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                value = body[0].value
                if isinstance(value.value, str):
                    docstrings.add(id(value))
                    yield Text(file, value.lineno, value.value)
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("#!", "# type:", "# noqa")):
            yield Text(file, token.start[0], token.string.lstrip("# "))
    if "tests" in file.parts:
        return
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [part for part in node.values if isinstance(part, ast.Constant)]
            inside.update(id(part) for part in pieces)
            message = "{}".join(str(part.value) for part in pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            message = "" if id(node) in docstrings else node.value
        else:
            continue
        if len(WORD.findall(message)) >= 3 and " " in message and not SQL.search(message):
            yield Text(file, node.lineno, message)


def sql_texts(file: Path, content: str) -> Iterator[Text]:
    """Yield the comments of a query: in a header, what stands behind ``#`` and in quoted sentences."""
    for block in re.finditer(r"/\*.*?\*/", content, re.DOTALL):
        first = content[: block.start()].count("\n") + 1
        for number, line in enumerate(block[0].splitlines(), first):
            sentence = re.match(r'\s*(?:grain|fact)\s*=\s*"(.*)"', line)
            prose = " ".join(filter(None, (sentence and sentence[1], line.partition("#")[2])))
            if prose:
                yield Text(file, number, prose)
    for number, line in enumerate(content.splitlines(), 1):
        if "--" in line:
            yield Text(file, number, line.partition("--")[2])


def count(files: Sequence[Path]) -> Count:
    """Count words, and the places of those that are ruled out, over the files."""
    words = ifs = 0
    listed: list[tuple[Path, int, str]] = []
    where: list[tuple[Path, int, str]] = []
    for file in files:
        for text in texts(file):
            prose = CODE.sub(lambda code: "\n" * code[0].count("\n"), text.words)
            words += len(WORD.findall(prose))
            ifs += len(IF.findall(prose))
            listed += [(*place(text, prose, match.start()), match[0]) for match in LISTED.finditer(prose)]
            where += [
                (*place(text, prose, match.start()), match[0])
                for match in WHERE.finditer(prose)
                if is_condition(prose, match)
            ]
    return Count(words, ifs, tuple(listed), tuple(where))


def is_condition(prose: str, where: "re.Match[str]") -> bool:
    """Return True if a "where" seems to introduce a condition and not a place."""
    before = " ".join(prose[max(0, where.start() - 40) : where.end()].split())
    return before.lower() != "where" and not PLACE.search(before) and not prose[where.end() :].startswith("?")


def place(text: Text, prose: str, offset: int) -> tuple[Path, int]:
    """Return the file and line of an offset in a text."""
    return text.path, text.line + prose[:offset].count("\n")


def test_ruled_out_words_only_become_fewer() -> None:
    """The number of listed words does not grow, and stays below 2.5 in 1,000 words."""
    found = count(project_files())
    assert len(found.listed) <= MOST_LISTED, found.listed[-20:]
    assert found.rate(len(found.listed)) <= LISTED_RATE


def test_conditions_are_introduced_by_if() -> None:
    """Conditions use "if"; "where" as a condition stays below 0.5 in 1,000 words."""
    found = count(project_files())
    assert len(found.where) <= MOST_CONDITIONAL_WHERE, found.where[-20:]
    assert found.rate(len(found.where)) <= WHERE_RATE
    assert found.rate(found.ifs) >= LEAST_IF


def test_counts_see_each_kind_of_text(tmp_path: Path) -> None:
    """A listed word is counted in a docstring, a comment, a message, a header, a setting and Markdown."""
    module = tmp_path / "module.py"
    module.write_text('"""Anew."""\n# nobody\nraise ValueError(f"{1} the file is gone")\nx = "gone"\n')
    header = tmp_path / "model.sql"
    header.write_text('/*\ngrain = "told"\n[columns]\nid = "BIGINT" # held\n*/\nselect 1 -- beside\n')
    setting = tmp_path / "settings.toml"
    setting.write_text("# meanwhile\nname = 'gone'\n")
    page = tmp_path / "page.md"
    page.write_text("At once.\n```sh\ngone\n```\n`gone` where it is, and where it was\n")
    assert [word for _, _, word in count([module]).listed] == ["Anew", "nobody", "gone"]
    assert [(line, word) for _, line, word in count([header]).listed] == [
        (2, "told"),
        (4, "held"),
        (6, "beside"),
    ]
    assert [word for _, _, word in count([setting]).listed] == ["meanwhile"]
    assert [(line, word) for _, line, word in count([page]).listed] == [(1, "At once")]
    assert [line for _, line, _ in count([page]).where] == [5]


def report(files: Sequence[Path]) -> None:
    """Print each occurrence, then the rates."""
    found = count(files)
    for path, line, word in (*found.listed, *found.where):
        print(f"{path.relative_to(ROOT)}:{line}: {word}")
    print(
        f"{found.words} words; per 1,000: if {found.rate(found.ifs):.1f},"
        f" conditional where {found.rate(len(found.where)):.2f} ({len(found.where)}),"
        f" listed {found.rate(len(found.listed)):.2f} ({len(found.listed)})"
    )


if __name__ == "__main__":
    report(project_files(sys.argv[1:]))
