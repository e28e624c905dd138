"""Torture: run campaigns of faults in their long form: ``python -m tests.torture [NAME …] [--states N]``."""

import click

from lake.cli.main import end
from tests.torture import disk, power, rot

# The campaigns by name, each with the number of its faults; those of "rot" are of each kind of file.
CAMPAIGNS = {"power": (power.main, 600), "disk": (disk.main, 300), "rot": (rot.main, 200)}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(CAMPAIGNS)))
@click.option("--states", type=int, help="The number of faults; by default that of the long form.")
@click.option("--seed", type=int, default=1, show_default=True, help="The seed of what is random in them.")
def torture(names: tuple[str, ...], states: int | None, seed: int) -> None:
    """Cut the power, fill the disk, fail its writes, flip bits: no figure is wrong, the lake converges."""
    failed = 0
    for name in names or CAMPAIGNS:
        run, count = CAMPAIGNS[name]
        print(f"{name}: {states or count} faults", flush=True)
        failed |= run([str(states or count), str(seed)])
    end(failed)


if __name__ == "__main__":
    torture()
