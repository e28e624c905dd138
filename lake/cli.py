"""What every command line here has in common: one line for an error, an exit code, a log.

Exit codes: 0 done, 1 error, 2 wrong usage or configuration, 3 a check refused to
publish, 4 the ingest is incomplete, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import click
import structlog

from lake.config import Config, read_config
from lake.errors import LakeError
from lake.paths import Lake
from lake.restores import refuse_unfinished
from lake.settings import LakeSettings

# Seconds that work outside Python may go on after SIGTERM.
PATIENCE = 3.0
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What delta-rs says of a store that it could not use, whoever's it is.
STORE = re.compile(r"Generic (S3|GCS|MicrosoftAzure) error|Error performing [A-Z]+ https?://")
# What it says of two mistakes in a set-up, which names neither.
MEANINGS = {
    "URL scheme is not allowed": "an http:// endpoint needs AWS_ALLOW_HTTP=true",
    # Where it asks the machine for credentials, as there are none in the environment.
    "http://169.254.": "the environment has no credentials for it",
}


class Terminated(SystemExit):
    """SIGTERM came: what is open is closed on the way out, as after Ctrl-C."""


class Stop:
    """Handles SIGTERM: raises Terminated once, so that a second one cuts no clean-up short.

    Python does so between two steps of its own. Where DuckDB or delta-rs is at work for longer than
    PATIENCE, the process ends in the middle of it, as it would if nobody handled the signal.
    """

    def __init__(self) -> None:
        self.has_come = False

    def listen(self) -> None:
        """Begin, unless whoever started this process has it ignore the signal."""
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self)
        threading.Thread(target=self._watch, args=[told], daemon=True).start()

    def __call__(self, number: int, frame: object) -> None:
        """Raise Terminated where the process is now."""
        if not self.has_come:
            self.has_come = True
            raise Terminated(128 + number)

    def _watch(self, told: int) -> None:
        while number := os.read(told, 1):
            if number[0] != signal.SIGTERM:
                continue
            time.sleep(PATIENCE)
            # A server, an ingest and the prompt handle it in their own way.
            if not self.has_come and signal.getsignal(signal.SIGTERM) is self:
                self.has_come = True
                end(stopped(self))


def main(command: click.Command, program: str) -> NoReturn:
    """Run the command and end the process with its exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    set_up_log(debug=debug)
    stop = Stop()
    try:
        stop.listen()
        code = command.main(args=arguments, prog_name=program, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt, Terminated):
        code = stopped(stop)
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else program
        hint = f"; see `{asked} --help`"
        code = complain(error.format_message().rstrip(".") + hint, 2)
    except click.ClickException as error:
        code = complain(error.format_message(), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LakeError as error:
        if debug:
            raise
        code = complain(str(error), error.exit_code)
    except Exception as error:
        # DuckDB says so of a query that a signal ended, in place of what the signal raised.
        if str(error) == "Query interrupted":
            end(stopped(stop))
        if debug:
            raise
        code = complain(explained(error), 1)
    end(code if isinstance(code, int) else 0)


def end(code: int) -> NoReturn:
    """End the process now, its work and its words done.

    An ordinary exit tears down Arrow's threads while deltalake still holds some, and now and
    then aborts with 134 ("terminate called without an active exception") after correct work.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def stopped(stop: Stop) -> int:
    """Say what ended the command, a SIGTERM or Ctrl-C, and return the exit code."""
    word, code = ("terminated", 143) if stop.has_come else ("interrupted", 130)
    print(f"{word}; what was done is kept", file=sys.stderr)
    return code


def complain(message: str, code: int) -> int:
    """Write one line to stderr and return the exit code."""
    print(f"error: {plain(message)}", file=sys.stderr)
    return code


def explained(error: Exception) -> str:
    """Return what an operator is told of an error that nobody raised on purpose. Pure."""
    if "No space left on device" in str(error):
        return "no space left on the disk; free some and run it again: what was committed stands"
    if reason := store_reason(str(error)):
        return (
            f"the object store can't be reached or refuses: {reason};"
            " check [lake] root and the credentials in the environment"
        )
    return f"{type(error).__name__}: {error}; add --debug to see where"


def store_reason(text: str) -> str | None:
    """Return in a few words why an object store did not do as asked; None where it is none's error. Pure."""
    text = plain(text)
    if not STORE.search(text):
        return None
    for said, meaning in MEANINGS.items():
        if said in text:
            return meaning
    message = re.search(r"<Message>(.+?)</Message>", text)
    # The body of an answer, XML, HTML or JSON, comes last.
    steps = re.split(r": | - ", re.split(r"[<{]", text)[0].rstrip(": "))
    host = re.search(r"https?://[^/\s]+", text)
    return ": ".join([*([host[0]] if host else []), message[1] if message else steps[-1]])


def plain(text: str) -> str:
    """Return a message as one line, without colours and with a colon where delta-rs has an arrow. Pure."""
    return " ".join(re.sub(r"\s*↳", ":", COLOURS.sub("", text)).split())


def set_up_log(*, debug: bool) -> None:
    """Log events as lines of fields to stderr; in colour only on a terminal."""
    renderer: Any = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], bool_as_flag=False
    )
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def open_lake() -> tuple[Config, Lake]:
    """Read the settings and return them with the lake they name. Raises LakeError for one half restored."""
    config = read_config()
    lake = Lake(root=config.section(LakeSettings).root)
    refuse_unfinished(lake)
    return config, lake


def group(help: str) -> Callable[[Callable[..., Any]], click.Group]:
    """Return click's decorator for a package's commands, with the options they share."""
    return click.group(
        help=help + "\n\nAdd --debug anywhere to see a traceback and every event.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
