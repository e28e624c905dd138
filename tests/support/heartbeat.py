"""A heartbeat for long runs: a line with the running tests if no test has ended for some seconds."""

import threading
import time

import pytest

# Seconds without a finished test after which a line is printed.
SILENCE = 15.0


class Heartbeat:
    """A plugin of the process that prints the results; it prints the tests that its workers run."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._began = self._last = time.monotonic()
        self._running: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def pytest_sessionstart(self) -> None:
        """Start to watch."""
        self._thread.start()

    def pytest_sessionfinish(self) -> None:
        """Stop to watch."""
        self._ended.set()
        self._thread.join()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that a test has begun."""
        self._running.setdefault(nodeid, time.monotonic())

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note that a test has ended."""
        self._running.pop(nodeid, None)
        self._last = time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(1):
            now = time.monotonic()
            if now - self._last >= SILENCE:
                self._last = now
                tests = [f"{name} ({now - began:.0f} s)" for name, began in dict(self._running).items()]
                self._reporter.ensure_newline()
                self._reporter.write_line(
                    f"{now - self._began:.0f} s, running: {', '.join(tests) or 'collection of the tests'}"
                )
