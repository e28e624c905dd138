"""DuckDB sessions over one release, and the catalogue file that any DuckDB opens."""
