"""What every command line here has in common: one line for an error, an exit code, a log.

Exit codes: 0 done, 1 error, 2 wrong usage or configuration, 3 a check refused to
publish, 4 the ingest is incomplete, 130 interrupted (Ctrl-C).
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
import structlog

from lake.config import Config, read_config
from lake.errors import LakeError
from lake.paths import Lake
from lake.releases.restores import refuse_unfinished
from lake.settings import LakeSettings

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What delta-rs, or obstore, says of a store that it could not use, whoever's it is.
STORE = re.compile(
    r"Generic (S3|GCS|MicrosoftAzure) error|Error performing [A-Z]+ https?://|loading credentials"
)
# What it says of mistakes in a set-up, which names neither.
MEANINGS = {
    "URL scheme is not allowed": "an http:// endpoint needs AWS_ALLOW_HTTP=true",
    # Where it asks the machine for credentials, as there are none in the environment.
    "http://169.254.": "the environment has no credentials for it",
    "loading credentials": "the environment has no credentials for it",
}


def main(command: click.Command, program: str) -> NoReturn:
    """Run the command and end the process with its exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    set_up_log(debug=debug)
    try:
        code = command.main(args=arguments, prog_name=program, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = interrupted()
    except click.UsageError as error:
        # Of an option without its value click does not say which command it is of.
        named = [one for one in arguments[:1] if one in getattr(command, "commands", {})]
        asked = error.ctx.command_path if error.ctx else " ".join([program, *named])
        hint = f"; see `{asked} --help`"
        code = complain(error.format_message().rstrip(".") + hint, 2)
    except click.ClickException as error:
        code = complain(error.format_message(), 1)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != 1:
            raise
        # Whoever read it has closed the pipe: rich ends the process then, with 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LakeError as error:
        if debug:
            raise
        code = complain(str(error), error.exit_code)
    except Exception as error:
        # DuckDB says so of a query that Ctrl-C ended, in place of what that raised.
        if str(error) == "Query interrupted":
            end(interrupted())
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


def interrupted() -> int:
    """Say that Ctrl-C ended the command, and return the exit code."""
    print("interrupted; what was done is kept", file=sys.stderr)
    return 130


def complain(message: str, code: int) -> int:
    """Write one line to stderr and return the exit code."""
    print(f"error: {plain(message)}", file=sys.stderr)
    return code


def explained(error: Exception) -> str:
    """Return what an operator is told of an error that nobody raised on purpose. Pure."""
    if "No space left on device" in str(error):
        return "no space left on the disk; free some and run it again: what was committed stands"
    if refusal := store_refusal(str(error)):
        return refusal
    return f"{type(error).__name__}: {error}; add --debug to see where"


def store_refusal(text: str) -> str | None:
    """Return in one line that an object store did not do as asked, and why; None for other errors. Pure."""
    text = plain(text)
    found = STORE.search(text)
    if not found:
        return None
    return (
        f"the object store can't be reached or refuses: {store_reason(text[found.start() :])};"
        " check [lake] root and the credentials in the environment"
    )


def store_reason(text: str) -> str:
    """Return in a few words what a store said, or what kept it from being asked. Pure."""
    for said, meaning in MEANINGS.items():
        if said in text:
            return meaning
    message = re.search(r"<Message>(.+?)</Message>", text)
    # The body of an answer, XML, HTML or JSON, comes last; then, after an upload, how the error came about.
    steps = re.split(r": | - ", re.split(r"[<{]|Debug source", text)[0].rstrip(": "))
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
