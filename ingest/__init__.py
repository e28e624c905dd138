"""Ingest: KeyCRM into bronze, every state it shows."""

import lake as lake  # before Arrow: it says how memory is given back
