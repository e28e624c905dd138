"""Because: somebody's reason, an option of the commands that may publish less than was there before."""

import click


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
