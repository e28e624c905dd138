"""Comparison of releases, the orders behind a day's revenue, and rollback to an older release."""
