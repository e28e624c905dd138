# keylake: every recipe is also `python -m <package> … --help`. Settings: config.toml, KEYLAKE_<SECTION>_<KEY>.

python := if path_exists(justfile_directory() / ".venv/bin/python") == "true" { justfile_directory() / ".venv/bin/python" } else { "python3" }
set positional-arguments
export PYTHONUNBUFFERED := "1"

_menu:
    @echo "keylake: a lakehouse for a shop on KeyCRM"
    @{{ just_executable() }} --justfile {{ justfile() }} --list --unsorted --list-heading ""

# A living shop, its lake and the dashboard (--once: print the figures and end)
[group('start here')]
[no-exit-message]
demo *args:
    @{{ python }} -m serve demo "$@"

# Copy the CRM into bronze: incremental, full, window, sweep, order
[group('every day')]
[no-exit-message]
ingest kind="incremental" *args:
    @{{ python }} -m ingest "$@"

# Compare one shop day, CRM against lake
[group('look')]
[no-exit-message]
validate day:
    @{{ python }} -m ingest validate "$@"

# Build silver and gold, check them, publish a release
[group('every day')]
[no-exit-message]
transform *args:
    @{{ python }} -m transform "$@"

# Ingest what changed, then transform
[group('every day')]
[no-exit-message]
sync:
    @{{ python }} -m serve sync

# Serve the dashboard and the JSON endpoints, read-only
[group('every day')]
[no-exit-message]
serve *args:
    @{{ python }} -m serve api "$@"

# Run the sync every five minutes
[group('every day')]
[no-exit-message]
schedule *args:
    @{{ python }} -m serve schedule "$@"

# What is in the lake, how fresh it is
[group('look')]
[no-exit-message]
status *args:
    @{{ python }} -m lake status "$@"

# The releases: number, time, kind, what moved
[group('look')]
[no-exit-message]
releases *args:
    @{{ python }} -m lake releases "$@"

# SQL over a release: just sql "select …"
[group('look')]
[no-exit-message]
sql *args:
    @{{ python }} -m lake sql "$@"

# A shop that speaks the CRM's API, on this machine
[group('develop')]
[no-exit-message]
sandbox *args:
    @{{ python }} -m ingest sandbox "$@"

# The tests
[group('develop')]
[no-exit-message]
test *args:
    @{{ python }} -m pytest "$@"

# Format, lint, types, import rules
[group('develop')]
[no-exit-message]
lint:
    @{{ python }} -m ruff format --check .
    @{{ python }} -m ruff check .
    @{{ python }} -m mypy
    @{{ python }} -c 'from importlinter.cli import lint_imports_command as run; run(["--no-cache"])'

# Lint and test: what a change must pass
[group('develop')]
[no-exit-message]
check: lint test

# Remove the demo's lake and all caches
[group('develop')]
[no-exit-message]
clean:
    @{{ python }} -m lake clean
    @rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
