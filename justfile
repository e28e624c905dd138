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
    @exec {{ python }} -m serve demo "$@"

# Copy the CRM into bronze: incremental, full, window, sweep, order
[group('every day')]
[no-exit-message]
ingest kind="incremental" *args:
    @exec {{ python }} -m ingest "$@"

# Compare one shop day, CRM against lake
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

# Serve the dashboard and the JSON endpoints, read-only
[group('every day')]
[no-exit-message]
serve *args:
    @exec {{ python }} -m serve api "$@"

# Sync every five minutes, maintain every hour, sweep and compare once a night
[group('every day')]
[no-exit-message]
schedule *args:
    @exec {{ python }} -m serve schedule "$@"

# What is in the lake, how fresh it is
[group('look')]
[no-exit-message]
status *args:
    @exec {{ python }} -m lake status "$@"

# The releases: number, time, kind, what moved
[group('look')]
[no-exit-message]
releases *args:
    @exec {{ python }} -m lake releases "$@"

# Everything of one day: orders behind its revenue in a release
[group('look')]
[no-exit-message]
explain *args:
    @exec {{ python }} -m lake explain "$@"

# What moved between two releases, and which orders moved it
[group('look')]
[no-exit-message]
diff *args:
    @exec {{ python }} -m lake diff "$@"

# The models: what a row is, rows, lineage (--graph FILE.svg: a drawing)
[group('look')]
[no-exit-message]
models *args:
    @exec {{ python }} -m transform models "$@"

# What the checks found that is not healed yet (--all: every check)
[group('look')]
[no-exit-message]
checks *args:
    @exec {{ python }} -m transform checks "$@"

# The release that serves beside a full build of it; exit 3 where they differ
[group('look')]
[no-exit-message]
compare *args:
    @exec {{ python }} -m transform compare "$@"

# SQL over a release: just sql "select …"
[group('look')]
[no-exit-message]
sql *args:
    @exec {{ python }} -m lake sql "$@"

# Readers go back to an older release; nothing is published until resumed
[group('operate')]
[no-exit-message]
rollback *args:
    @exec {{ python }} -m lake rollback "$@"

# Publish again, with or without what named runs brought
[group('operate')]
[no-exit-message]
resume *args:
    @exec {{ python }} -m lake resume "$@"

# Fetch again, build in full, compare with the CRM, show what moves, publish
[group('operate')]
[no-exit-message]
resync *args:
    @exec {{ python }} -m serve resync "$@"

# Name a release, and keep it for good
[group('operate')]
[no-exit-message]
tag *args:
    @exec {{ python }} -m lake tag "$@"

# Take a release's name away
[group('operate')]
[no-exit-message]
untag *args:
    @exec {{ python }} -m lake untag "$@"

# Fewer, larger files; the same rows
[group('operate')]
[no-exit-message]
compact *args:
    @exec {{ python }} -m lake compact "$@"

# Delete files that no kept release needs: a dry run without --yes
[group('operate')]
[no-exit-message]
vacuum *args:
    @exec {{ python }} -m lake vacuum "$@"

# Compact, checkpoint, clean logs, vacuum
[group('operate')]
[no-exit-message]
maintain *args:
    @exec {{ python }} -m lake maintain "$@"

# Bytes per table: live, kept for releases, reclaimable, log
[group('operate')]
[no-exit-message]
size *args:
    @exec {{ python }} -m lake size "$@"

# Copy what a release needs to another place, what is new of it
[group('operate')]
[no-exit-message]
backup *args:
    @exec {{ python }} -m lake backup "$@"

# Make a lake of a backup, in an empty place
[group('operate')]
[no-exit-message]
restore *args:
    @exec {{ python }} -m lake restore "$@"

# Keep a month's end as plain Delta tables
[group('operate')]
[no-exit-message]
archive *args:
    @exec {{ python }} -m lake archive "$@"

# Remove a person from every file; the sums stay
[group('operate')]
[no-exit-message]
erase-buyer *args:
    @exec {{ python }} -m ingest erase-buyer "$@"

# A shop that speaks the CRM's API, on this machine
[group('develop')]
[no-exit-message]
sandbox *args:
    @exec {{ python }} -m ingest sandbox "$@"

# The tests
[group('develop')]
[no-exit-message]
test *args:
    @exec {{ python }} -m pytest "$@"

# Format, lint, spelling, types, import rules
[group('develop')]
[no-exit-message]
lint:
    @{{ python }} -m ruff format --check .
    @{{ python }} -m ruff check .
    @{{ python }} -m codespell_lib .
    @{{ python }} -m mypy
    @{{ python }} -c 'from importlinter.cli import lint_imports_command as run; run(["--no-cache"])'

# Lint and test: what a change must pass
[group('develop')]
[no-exit-message]
check: lint test

# Remove the demo's lake and all caches
[group('develop')]
[no-exit-message]
clean *args:
    @{{ python }} -m lake clean "$@"
    @rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
