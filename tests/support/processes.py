"""Find the tests that start a process: a command, a server, a browser, a killed child, an S3 endpoint.

The search follows names: from a test and its fixtures to the functions and classes of this project that
they name, until one of them names ``subprocess`` or ``multiprocessing``. It may mark a test that never
reaches that line. It can miss a process that an object starts; ``refuse_processes`` then fails the test.
"""

import inspect
import multiprocessing.context
import os
import subprocess
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, NoReturn

import pytest

from tests.support import forked_commands

PACKAGES = ("tests", "lake", "ingest", "transform", "serve")
STARTING_MODULES = ("subprocess", "multiprocessing")
STARTING_NAMES = {"create_subprocess_exec", "fork", "posix_spawn"}
_results: dict[object, bool] = {}


def starts_process(item: pytest.Item) -> bool:
    """Return True if the test or one of its fixtures can reach code that starts a process."""
    if not isinstance(item, pytest.Function):
        return False
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    roots = [item.function, *(fixture.func for variants in fixtures for fixture in variants)]
    return any(map(_reaches_start, roots))


def refuse_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every start of a process fail until the end of the test."""
    monkeypatch.setattr(subprocess.Popen, "__init__", _refuse)
    monkeypatch.setattr(forked_commands, "forker", _refuse)
    for name in ("fork", "posix_spawn"):
        monkeypatch.setattr(os, name, _refuse)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("this test starts a process; mark it with @pytest.mark.process")


def _reaches_start(root: Any) -> bool:
    """Return True if code that starts a process can be reached from a function or class by names."""
    if root not in _results:
        waiting, seen, is_found = [root], {root}, False
        while waiting and not is_found:
            for function in _functions(waiting.pop()):
                names = set(_names(function.__code__))
                values = [function.__globals__[name] for name in names & function.__globals__.keys()]
                is_found = is_found or bool(names & STARTING_NAMES) or any(map(_is_starter, values))
                following = {value for value in values if _is_ours(value)} - seen
                seen |= following
                waiting += following
        _results[root] = is_found
    return _results[root]


def _is_starter(value: object) -> bool:
    """Return True for a module that starts processes and for a context of multiprocessing."""
    if isinstance(value, ModuleType):
        return value.__name__ in STARTING_MODULES
    return isinstance(value, multiprocessing.context.BaseContext)


def _is_ours(value: object) -> bool:
    """Return True for a function or class of this project, this module's apart."""
    module = getattr(value, "__module__", None) if callable(value) else None
    return isinstance(module, str) and module != __name__ and module.partition(".")[0] in PACKAGES


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yield the function itself, or every method of a class and its bases, without decorators."""
    methods = [value]
    if isinstance(value, type):
        methods = [method for base in value.__mro__ if _is_ours(base) for method in vars(base).values()]
    for method in methods:
        # A property, a class method, a command of click, a test of Hypothesis.
        for name in ("fget", "__func__", "callback", "hypothesis", "inner_test"):
            method = getattr(method, name, method)
        if isinstance(function := inspect.unwrap(method), FunctionType):
            yield function


def _names(code: CodeType) -> Iterator[str]:
    """Yield every name that the code and the code inside it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
