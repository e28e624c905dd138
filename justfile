# keylake: each recipe calls `python -m <package> …`, which takes --help. Settings: config.toml, KEYLAKE_<SECTION>_<KEY>.

python := if path_exists(justfile_directory() / ".venv/bin/python") == "true" { justfile_directory() / ".venv/bin/python" } else { "python3" }
set positional-arguments
export PYTHONUNBUFFERED := "1"

_menu:
    @echo "keylake: a lakehouse for a shop on KeyCRM"
    @{{ just_executable() }} --justfile {{ justfile() }} --list --unsorted --list-heading ""

# Run a sandbox shop, its lake and the dashboard (--once: print the figures and end)
[group('start here')]
[no-exit-message]
demo *args:
    @exec {{ python }} -m serve demo "$@"

# Copy the CRM into bronze: incremental, full, window, sweep, order
[group('every day')]
[no-exit-message]
ingest kind="incremental" *args:
    @exec {{ python }} -m ingest "$@"

# Compare one shop day of the CRM with the lake, order by order
[group('look')]
[no-exit-message]
validate *args:
    @exec {{ python }} -m ingest validate "$@"

# Build silver and gold, check them, publish a release
[group('every day')]
[no-exit-message]
transform *args:
    @exec {{ python }} -m transform "$@"

# Ingest what changed, then transform
[group('every day')]
[no-exit-message]
sync *args:
    @exec {{ python }} -m serve sync "$@"

# Serve the dashboard and the JSON API, read-only
[group('every day')]
[no-exit-message]
serve *args:
    @exec {{ python }} -m serve api "$@"

# Sync every five minutes, maintain every hour, sweep and compare once a day
[group('every day')]
[no-exit-message]
schedule *args:
    @exec {{ python }} -m serve schedule "$@"

# Show the release that serves, the last ingest, failed jobs and every table
[group('look')]
[no-exit-message]
status *args:
    @exec {{ python }} -m lake status "$@"

# List the releases: number, time, kind, what moved
[group('look')]
[no-exit-message]
releases *args:
    @exec {{ python }} -m lake releases "$@"

# List the orders behind the revenue of one shop day
[group('look')]
[no-exit-message]
explain *args:
    @exec {{ python }} -m lake explain "$@"

# Compare two releases: days and tables that moved (--orders: the orders too)
[group('look')]
[no-exit-message]
diff *args:
    @exec {{ python }} -m lake diff "$@"

# List the models: grain, rows, lineage (--graph FILE.svg: draw the lineage)
[group('look')]
[no-exit-message]
models *args:
    @exec {{ python }} -m transform models "$@"

# Show open findings of the checks (--all: every check)
[group('look')]
[no-exit-message]
checks *args:
    @exec {{ python }} -m transform checks "$@"

# Compare the release with a full build; exit 3 if they differ
[group('look')]
[no-exit-message]
compare *args:
    @exec {{ python }} -m transform compare "$@"

# Query a release with DuckDB: just sql "select …"
[group('look')]
[no-exit-message]
sql *args:
    @exec {{ python }} -m lake sql "$@"

# Let readers go back to an older release; builds publish nothing until `just resume`
[group('operate')]
[no-exit-message]
rollback *args:
    @exec {{ python }} -m lake rollback "$@"

# Let builds publish again (--exclude-run RUN: without an ingest run)
[group('operate')]
[no-exit-message]
resume *args:
    @exec {{ python }} -m lake resume "$@"

# Fetch everything again, build in full, compare with the CRM, publish if both agree
[group('operate')]
[no-exit-message]
resync *args:
    @exec {{ python }} -m serve resync "$@"

# Name a release and retain it
[group('operate')]
[no-exit-message]
tag *args:
    @exec {{ python }} -m lake tag "$@"

# Remove the name of a release
[group('operate')]
[no-exit-message]
untag *args:
    @exec {{ python }} -m lake untag "$@"

# Merge small files; rows stay the same
[group('operate')]
[no-exit-message]
compact *args:
    @exec {{ python }} -m lake compact "$@"

# Show files that no retained release needs (--yes: delete them)
[group('operate')]
[no-exit-message]
vacuum *args:
    @exec {{ python }} -m lake vacuum "$@"

# Vacuum, clean up the logs, compact, write checkpoints
[group('operate')]
[no-exit-message]
maintain *args:
    @exec {{ python }} -m lake maintain "$@"

# Repair damaged files and logs, then rebuild what depends on them (--from BACKUP: copy what it has)
[group('operate')]
[no-exit-message]
repair *args:
    @{{ python }} -m lake repair "$@"
    @{{ python }} -m ingest repair-rows
    @{{ python }} -m transform
    @exec {{ python }} -m lake repair "$@"

# Compare every file with its checksum (--deep: decode it, and compare bronze with its payloads)
[group('operate')]
[no-exit-message]
verify *args:
    @exec {{ python }} -m ingest verify "$@"

# Show bytes of each table: live, retained for releases, reclaimable, log
[group('operate')]
[no-exit-message]
size *args:
    @exec {{ python }} -m lake size "$@"

# Copy the lake to another place; only new files are copied
[group('operate')]
[no-exit-message]
backup *args:
    @exec {{ python }} -m lake backup "$@"

# Make a lake from a backup, in an empty place
[group('operate')]
[no-exit-message]
restore *args:
    @exec {{ python }} -m lake restore "$@"

# Archive the tables of a month's end as independent Delta tables
[group('operate')]
[no-exit-message]
archive *args:
    @exec {{ python }} -m lake archive "$@"

# Remove a person from every file; orders and sums stay
[group('operate')]
[no-exit-message]
erase-buyer *args:
    @exec {{ python }} -m ingest erase-buyer "$@"

# Run a shop on this machine that answers like the CRM
[group('develop')]
[no-exit-message]
sandbox *args:
    @exec {{ python }} -m ingest sandbox "$@"

# Run all tests: about half an hour on two cores
[group('develop')]
[no-exit-message]
test *args:
    @PYTHONDONTWRITEBYTECODE= exec {{ python }} -m pytest "$@"

# Run the tests that start no process and are not slow: about 90 seconds
[group('develop')]
[no-exit-message]
quick *args:
    @PYTHONDONTWRITEBYTECODE= exec {{ python }} -m pytest -m "not process and not slow" "$@"

# Cut the power, fill the disk, fail its writes, flip bits, hundreds of times; names: power, disk, rot
[group('develop')]
[no-exit-message]
torture *args:
    @PYTHONDONTWRITEBYTECODE= exec {{ python }} -m tests.torture "$@"

# Check format, lint, spelling, types and import rules
[group('develop')]
[no-exit-message]
lint:
    @{{ python }} -m ruff format --check .
    @{{ python }} -m ruff check .
    @{{ python }} -m codespell_lib .
    @{{ python }} -m mypy
    @{{ python }} -c 'from importlinter.cli import lint_imports_command as run; run(["--no-cache"])'

# Run lint and test: what a change must pass
[group('develop')]
[no-exit-message]
check: lint test

# Remove the demo's lake and all caches
[group('develop')]
[no-exit-message]
clean *args:
    @{{ python }} -m lake clean "$@"
    @rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
