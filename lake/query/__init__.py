"""DuckDB sessions over one release, and the catalogue file for an analyst's own DuckDB."""
