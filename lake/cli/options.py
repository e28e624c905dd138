"""Options: ``--because``, ``--format``, ``--release`` and ``--as-of``, which several commands share."""

from collections.abc import Callable
from typing import Any

import click

from lake.cli.output import FORMATS
from lake.releases.asof import FORMS


def reason(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """Return the reason that a person gave. Raises BadParameter if it is empty."""
    if text is not None and not text.strip():
        raise click.BadParameter("it is empty; say in a few words why", ctx=context, param=option)
    return text


# An option of commands that may publish fewer rows or less money than the release before.
because = click.option(
    "--because",
    callback=reason,
    help="Your reason why a total may decrease more than config.toml allows; it is recorded.",
)

in_format = click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Output format."
)


def at_release(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --release (``release``) and --as-of (``as_of``) to a command; see ``releases.asof``."""
    command = click.option("--as-of", metavar="WHEN", help=f"Read the release of WHEN: {FORMS}.")(command)
    return click.option("--release", type=int, help="Read the release with this number.")(command)
