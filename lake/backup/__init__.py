"""Copies of a lake: backup, restore, and the archives of month ends."""
