"""Ingest: KeyCRM into bronze, every state it shows."""

import lake as lake  # before Arrow: it configures the memory allocator
