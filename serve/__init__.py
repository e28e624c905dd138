"""Serve: the JSON endpoints, the dashboard and the schedule."""

import lake as lake  # before Arrow: it configures the memory allocator
