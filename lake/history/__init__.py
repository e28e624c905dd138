"""Comparing releases, explaining a day's orders, and going back to an older release."""
