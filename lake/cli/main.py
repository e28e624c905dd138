"""Main: the start and end of every command. An error becomes one line and an exit code.

Exit codes: 0 done, 1 error, 2 wrong usage or configuration, 3 a check refused to
publish, 4 the ingest is incomplete, 130 interrupted (Ctrl-C).
"""

import contextlib
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
import structlog

from lake.cli.terminal import escape_streams, unescaped
from lake.config import Config, read_config
from lake.errors import LakeError, is_disk_full, panics_as_errors
from lake.messages import LONGEST_LINE, in_line
from lake.paths import OTHERS, Lake
from lake.query.spill import remove_folder
from lake.releases.restores import refuse_unfinished
from lake.settings import LakeSettings

log = structlog.get_logger()
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# The words by which an error of delta-rs or obstore is about an object store.
STORE = re.compile(
    r"Generic (S3|GCS|MicrosoftAzure) error|Error performing [A-Z]+ https?://|loading credentials"
)
# The words of the system, and of libraries, for a disk that can't be written.
READ_ONLY = re.compile(r"(?i)read-only file system|os error 30\b")
# The words by which a library can't decode a file.
UNREADABLE = re.compile(r"(?i)parquet|thrift|zstd|snappy|decompress|corrupt")
# The reasons for errors of a wrong set-up, by a part of their text, which does not name the setting.
MEANINGS = {
    "URL scheme is not allowed": "an http:// endpoint needs AWS_ALLOW_HTTP=true",
    # The address of a cloud machine's credentials, used if the environment has none.
    "http://169.254.": "the environment has no credentials for it",
    "loading credentials": "the environment has no credentials for it",
}


def main(command: click.Command, program: str) -> NoReturn:
    """Run the command and end the process with its exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    escape_streams()
    set_up_log(debug=debug)
    try:
        with panics_as_errors():
            code = command.main(args=arguments, prog_name=program, standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = interrupted()
    except click.UsageError as error:
        # If an option lacks its value, click's error does not name the command.
        names = [name for name in arguments[:1] if name in getattr(command, "commands", {})]
        path = error.ctx.command_path if error.ctx else " ".join([program, *names])
        code = complain(f"{error.format_message().rstrip('.')}; see `{path} --help`", 2)
    except click.ClickException as error:
        code = complain(error.format_message(), 1)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != 1:
            raise
        # The reader has closed the pipe. In this case rich ends the process with exit code 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LakeError as error:
        if debug:
            raise
        code = complain(str(error), error.exit_code)
    except Exception as error:
        # If Ctrl-C ended a query, DuckDB raises this error in place of KeyboardInterrupt.
        if str(error) == "Query interrupted":
            end(interrupted())
        if debug:
            raise
        code = complain(explanation(error), 1)
    end(code if isinstance(code, int) else 0)


def end(code: int) -> NoReturn:
    """Flush the output and end the process immediately.

    An ordinary exit stops Arrow's threads while deltalake still uses some. After correct work it
    sometimes aborts with exit code 134 ("terminate called without an active exception").
    """
    remove_folder()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def interrupted() -> int:
    """Print that Ctrl-C ended the command; return the exit code."""
    print("interrupted; finished work is kept", file=sys.stderr)
    return 130


def complain(message: str, code: int) -> int:
    """Print an error as one line to stderr; return the exit code."""
    print(f"error: {in_line(plain(message), LONGEST_LINE)}", file=sys.stderr)
    return code


def explanation(error: Exception) -> str:
    """Return the operator's message for an unexpected error. Pure."""
    if is_disk_full(error):
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"no space left on the disk{where}; free some space and run it again: all commits are kept"
    if READ_ONLY.search(str(error)):
        return "the disk is read-only, or was made so after a fault; make it writable and run it again"
    if refusal := store_refusal(str(error)):
        return refusal
    is_unreadable = UNREADABLE.search(str(error))
    step = "a file may be damaged, run `just verify`" if is_unreadable else "add --debug to see the traceback"
    return f"{type(error).__name__}: {error}; {step}"


def store_refusal(text: str) -> str | None:
    """Return a message if an object store is unreachable or refuses; None for other errors. Pure."""
    text = plain(text)
    start = STORE.search(text)
    if not start:
        return None
    return (
        f"the object store can't be reached or refuses the request: {store_reason(text[start.start() :])};"
        " check [lake] root and the credentials in the environment"
    )


def store_reason(text: str) -> str:
    """Return why a request to an object store failed, with the host if it is known. Pure."""
    for fragment, meaning in MEANINGS.items():
        if fragment in text:
            return meaning
    message = re.search(r"<Message>(.+?)</Message>", text)
    # The reason is followed by the body of the response (XML, HTML or JSON) or, after an upload, by details.
    steps = re.split(r": | - ", re.split(r"[<{]|Debug source", text)[0].rstrip(": "))
    host = re.search(r"https?://[^/\s]+", text)
    return ": ".join([*([host[0]] if host else []), message[1] if message else steps[-1]])


def plain(text: str) -> str:
    """Return a message as one line without colours; an arrow of delta-rs becomes a colon. Pure."""
    return " ".join(re.sub(r"\s*↳", ":", COLOURS.sub("", text)).split())


def set_up_log(*, debug: bool) -> None:
    """Log each event as one line of fields to stderr; use colours only if it is a terminal."""
    renderer: Any = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], bool_as_flag=False
    )
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            escape_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
        # The renderer's own colours stay.
        logger_factory=structlog.PrintLoggerFactory(file=unescaped(sys.stderr)),
    )


def escape_fields(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return a log event whose texts can't steer a terminal or begin a line, and are cut. Pure."""
    return {
        name: in_line(value, LONGEST_LINE) if isinstance(value, str) else value
        for name, value in event.items()
    }


def open_lake(*, keeps_umask: bool = False) -> tuple[Config, Lake]:
    """Read the settings; return them and their lake.

    If more users than the settings allow can reach the lake, a warning has the command that closes it. What
    the process creates from now on is for the users who can reach the lake at most, except with
    ``keeps_umask``, for commands that write a person's own files.

    Raises UsageError if no lake can be at its root, and LakeError if its restore is unfinished.
    """
    config = read_config()
    lake = config.section(LakeSettings).lake
    lake.refuse_unusable()
    if lake.open_to():
        closing = f"chmod {lake.mode:o} {shlex.quote(lake.place)}"
        log.warning("lake.is_open_to_other_users", folder=lake.place, close_with=closing)
    if not keeps_umask:
        os.umask(os.umask(OTHERS) | OTHERS & ~lake.mode_below)
    refuse_unfinished(lake)
    return config, lake


def group(help: str) -> Callable[[Callable[..., Any]], click.Group]:
    """Return click's decorator for the group of a package's commands; ``help`` describes the package."""
    return click.group(
        help=help + "\n\nAdd --debug to any command to see a traceback and every log event.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
