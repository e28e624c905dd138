"""Maintenance of tables: compaction, checkpoints, log clean-up, vacuum, and erasure of personal values."""
