"""Releases: which table versions belong together, which are retained, and what they are called."""
