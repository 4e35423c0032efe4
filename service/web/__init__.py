"""The page: its routes, and its files as `make web` builds them from `web/`."""
