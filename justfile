# keylake: every recipe is also `python -m <package> … --help`. Settings: config.toml, KEYLAKE_<SECTION>_<KEY>.

python := if path_exists(justfile_directory() / ".venv/bin/python") == "true" { justfile_directory() / ".venv/bin/python" } else { "python3" }
export PYTHONUNBUFFERED := "1"

_menu:
    @just --list --unsorted --list-heading $'keylake: a lakehouse for a shop on KeyCRM\n'

# A living sandbox shop, its lake and the dashboard (--once: print the figures and end)
[group('start here')]
demo *args:
    @{{ python }} -m serve demo {{ args }}

# Copy the CRM into bronze: incremental, full, window --from --to, sweep [--days N | --all], order ID …
[group('every day')]
ingest kind="incremental" *args:
    @{{ python }} -m ingest {{ kind }} {{ args }}

# Compare one shop day, CRM against lake, order by order: just validate 2026-09-01
[group('look')]
validate day:
    @{{ python }} -m ingest validate {{ day }}

# Build silver and gold, check them, publish a release (--full: build everything)
[group('every day')]
transform *args:
    @{{ python }} -m transform {{ args }}

# Ingest what changed, then transform
[group('every day')]
sync:
    @{{ python }} -m serve sync

# Serve the dashboard and the JSON endpoints, read-only
[group('every day')]
serve *args:
    @{{ python }} -m serve api {{ args }}

# Run the sync every five minutes
[group('every day')]
schedule *args:
    @{{ python }} -m serve schedule {{ args }}

# What is in the lake, how fresh it is
[group('look')]
status *args:
    @{{ python }} -m lake status {{ args }}

# The releases: number, time, kind, what moved
[group('look')]
releases *args:
    @{{ python }} -m lake releases {{ args }}

# SQL over a release: just sql "select …" [--format table|json|csv] [--release N]
[group('look')]
sql *args:
    @{{ python }} -m lake sql "$@"

# A shop that speaks the CRM's API, on this machine
[group('develop')]
sandbox *args:
    @{{ python }} -m ingest sandbox {{ args }}

# The tests
[group('develop')]
test *args:
    @{{ python }} -m pytest {{ args }}

# Format, lint, types, import rules
[group('develop')]
lint:
    @{{ python }} -m ruff format --check .
    @{{ python }} -m ruff check .
    @{{ python }} -m mypy
    @{{ python }} -c 'from importlinter.cli import lint_imports_command as run; run(["--no-cache"])'

# Lint and test: what a change must pass
[group('develop')]
check: lint test

# Remove the demo's lake and all caches (a lake filled from a real CRM is left alone)
[group('develop')]
clean:
    @{{ python }} -m lake clean
    @rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
