"""Page handlers."""

ROUTES = []
