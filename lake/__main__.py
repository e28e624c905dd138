"""``python -m lake``: the commands of the lake."""

from lake.cli.lake import lake
from lake.cli.main import main

if __name__ == "__main__":
    main(lake, "python -m lake")
