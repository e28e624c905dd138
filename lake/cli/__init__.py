"""Command line: ``python -m lake``, and what every package's commands share."""
