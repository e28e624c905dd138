"""Copies of a lake: backup, restore, and the archive of a month's end."""
