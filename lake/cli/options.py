"""Because: somebody's reason, an option of the commands that may publish less than was there before."""

from collections.abc import Callable
from typing import Any

import click

from lake.cli.output import FORMATS
from lake.releases.asof import FORMS


def reason(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """Return the reason; one that says nothing is wrong usage."""
    if text is not None and not text.strip():
        raise click.BadParameter("it is empty; say in a few words why", ctx=context, param=option)
    return text


because = click.option(
    "--because",
    callback=reason,
    help="Why a total may fall further than config.toml allows; it is recorded.",
)


in_format = click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print."
)


def at_release(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --release (``release``) and --as-of (``as_of``); see ``releases.asof``."""
    command = click.option("--as-of", metavar="WHEN", help=f"Read what was said then: {FORMS}.")(command)
    return click.option("--release", type=int, help="Read the release of that number.")(command)
