"""What every command line here has in common: one line for an error, an exit code, a log.

Exit codes: 0 done, 1 error, 2 wrong usage or configuration, 3 a check refused to
publish, 4 the ingest is incomplete.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
import structlog

from lake.config import Config, read_config
from lake.errors import LakeError
from lake.paths import Lake
from lake.settings import LakeSettings


def main(command: click.Command, program: str) -> NoReturn:
    """Run the command and end the process with its exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    set_up_log(debug=debug)
    try:
        code = command.main(args=arguments, prog_name=program, standalone_mode=False)
    except click.exceptions.Abort:
        code = complain("interrupted; what was done is kept", 130)
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else program
        hint = f"; see `{asked} --help`"
        code = complain(error.format_message().rstrip(".") + hint, 2)
    except click.ClickException as error:
        code = complain(error.format_message(), 1)
    except KeyboardInterrupt:
        code = complain("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LakeError as error:
        if debug:
            raise
        code = complain(str(error), error.exit_code)
    except Exception as error:
        if debug:
            raise
        if "No space left on device" in str(error):
            code = complain(
                "no space left on the disk; free some and run it again: what was committed stands", 1
            )
        else:
            code = complain(f"{type(error).__name__}: {error}; add --debug to see where", 1)
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


def complain(message: str, code: int) -> int:
    """Write one line to stderr and return the exit code."""
    line = " ".join(message.split())
    print(f"error: {line}" if code != 130 else line, file=sys.stderr)
    return code


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
    """Read the settings and return them with the lake they name."""
    config = read_config()
    return config, Lake(root=config.section(LakeSettings).root)


def group(help: str) -> Callable[[Callable[..., Any]], click.Group]:
    """Return click's decorator for a package's commands, with the options they share."""
    return click.group(
        help=help + "\n\nAdd --debug anywhere to see a traceback and every event.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
