"""Serve: the JSON endpoints, the dashboard, the schedule."""

import lake as lake  # before Arrow: it says how memory is given back
