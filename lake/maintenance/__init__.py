"""Maintenance: compaction, checkpoints, log clean-up, vacuum, and erasure of a person."""
