"""``python -m lake``: the lake's own commands."""

from lake.cli.lake import lake
from lake.cli.main import main

if __name__ == "__main__":
    main(lake, "python -m lake")
