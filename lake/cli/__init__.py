"""Command line: ``python -m lake``, and the parts that the commands of every package share."""
