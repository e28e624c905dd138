"""Config: one file, overridden by the environment, and one clear line for each wrong setting."""

import itertools
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.sandbox.settings import Sandbox
from ingest.settings import SourceSettings
from lake.config import DEFAULT_FILE, SANDBOX_FILE, SECTIONS, read_config, read_toml
from lake.errors import ConfigError
from lake.settings import LakeSettings
from serve.settings import ServeSettings
from transform.settings import RulesSettings


def config_file(tmp_path: Path, text: str) -> dict[str, str]:
    """Return an environment that names a file with this text."""
    file = tmp_path / "settings.toml"
    file.write_text(text, "utf-8")
    return {"KEYLAKE_CONFIG": str(file)}


def test_the_projects_files_list_every_setting_with_its_default_and_a_comment() -> None:
    """config.toml and sandbox.toml together list every setting and nothing else."""
    shop, rest = read_toml(SANDBOX_FILE), read_toml(DEFAULT_FILE)
    assert shop.keys() == {"sandbox"}
    assert rest.keys() == SECTIONS.keys() - {"sandbox"}
    for name, section in read_config({}).sections.items():
        assert section == type(section)(), f"[{name}] differs from its defaults"
        assert set((shop | rest)[name]) == set(type(section).__struct_fields__)


@pytest.mark.parametrize("file", [DEFAULT_FILE, SANDBOX_FILE], ids=lambda file: file.name)
def test_each_setting_has_a_comment(file: Path) -> None:
    """Each key of a settings file has a comment on its line or on the line above."""
    lines = file.read_text("utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"[a-z_]+ *=", line):
            assert "#" in line or before.startswith("#"), f"no comment: {line}"


def test_config_toml_names_the_file_of_the_sandbox() -> None:
    """A reader of config.toml finds the sandbox's settings through one comment line."""
    name = str(SANDBOX_FILE.relative_to(DEFAULT_FILE.parent))
    comments = [line for line in DEFAULT_FILE.read_text("utf-8").splitlines() if name in line]
    assert len(comments) == 1
    assert comments[0].startswith("#")


def test_a_setting_of_the_sandboxs_own_file_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An edit of sandbox.toml takes effect, and a mistake in it is reported under its name."""
    shop = tmp_path / "sandbox.toml"
    monkeypatch.setattr("lake.config.SANDBOX_FILE", shop)
    shop.write_text("[sandbox]\nport = 1\n", "utf-8")
    assert read_config({}).section(Sandbox).port == 1
    assert read_config({"KEYLAKE_SANDBOX_PORT": "2"}).section(Sandbox).port == 2
    shop.write_text("[sandbox]\nprot = 1\n", "utf-8")
    with pytest.raises(ConfigError, match=r"sandbox.toml: \[sandbox\] prot is not a key here; the keys are "):
        read_config({})


def test_a_file_of_your_own_may_have_a_sandbox_section(tmp_path: Path) -> None:
    """A [sandbox] section in your own file works, and the keys that it leaves out have their defaults."""
    environ = config_file(tmp_path, "[sandbox]\nport = 1\n")
    assert read_config(environ).section(Sandbox) == Sandbox(port=1)
    environ["KEYLAKE_SANDBOX_DAYS"] = "3"
    assert read_config(environ).section(Sandbox) == Sandbox(port=1, days=3)


def test_your_own_file_replaces_the_projects_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If KEYLAKE_CONFIG names a file, neither of the project's files is read."""
    monkeypatch.setattr("lake.config.SANDBOX_FILE", tmp_path / "none.toml")
    assert read_config(config_file(tmp_path, "")).section(Sandbox) == Sandbox()


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable overrides a text, a number or a list of the file."""
    environ = config_file(tmp_path, "[lake]\nroot = 'here'\n[serve]\nport = 1\n")
    environ |= {
        "KEYLAKE_SERVE_PORT": "9001",
        "KEYLAKE_SOURCE_BASE_URL": "http://127.0.0.1:1/v1",
        "KEYLAKE_SOURCE_REQUESTS_PER_MINUTE": "600",
        "KEYLAKE_RULES_RETURN_STATUSES": "19, 21",
        "KEYLAKE_RULES_EXCLUDED_SOURCES": "3",
        "KEYLAKE_RULES_SALES_TYPES": '[{"sales_type": "retail", "managers": [1]}]',
    }
    config = read_config(environ)
    assert config.section(LakeSettings).root == "here"
    assert config.section(ServeSettings).port == 9001
    assert config.section(SourceSettings).base_url == "http://127.0.0.1:1/v1"
    assert config.section(SourceSettings).requests_per_minute == 600
    rules = config.section(RulesSettings)
    assert (rules.return_statuses, rules.excluded_sources) == ((19, 21), (3,))
    assert rules.sales_types[0].managers == (1,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serve]\nport = 'x'", r"\[serve\] port: a whole number is expected, found a text"),
        ("[serve]\nprot = 1", r"\[serve\] prot is not a key here; the keys are host, port, "),
        ("[server]\nport = 1", r"unknown section \[server\]"),
        ("serve = 1", r"\[serve\] is 1; expected a table"),
        ("[serve", "not readable as TOML"),
        (
            "[serve]\nport = 1\nport = 2\n",
            r"not readable as TOML: a key or table is defined twice \(at line 3",
        ),
        ("[lake]\nmemory_limit = 'lots'", r"\[lake\] memory_limit: write it as 2GB$"),
        ("[serve]\nmemory_limit = '5'", r"\[serve\] memory_limit: write it as 512MB$"),
        ("[lake]\nroot = ''", r"\[lake\] root is '': it is empty; name a folder"),
        (
            "[lake]\nroot = 's3:/x'",
            r"\[lake\] root is 's3:/x': no lake can be there; name .* s3://bucket",
        ),
        ("[lake]\nroot = 'ftp://x/y'", r"no lake can be there; .*\(gs://, az://\)$"),
        ("[lake]\nroot = 's3://'", "no lake can be there"),
        ("[lake]\nroot = 'x://y'", "no lake can be there"),
        ("[lake]\nroot = ' s3://b/l'", "no lake can be there"),
        ("[lake]\nroot = '~/lake'", "no lake can be there"),
        ("[lake]\nthreads = -1", r"\[lake\] threads"),
        ("[lake]\nthreads = 1000000", r"\[lake\] threads"),
        ("[source]\nbase_url = 'openapi'", r"\[source\] base_url"),
        ("[source]\nrequests_per_minute = 0", r"\[source\] requests_per_minute"),
        ("[sandbox]\nprot = 1", r"\[sandbox\] prot is not a key here; the keys are host, port, "),
        ("[sandbox]\nstamps = 'utc'", r"\[sandbox\] stamps"),
        (
            "[rules]\nsales_types = [{ sales_type = 'retial' }]",
            r"sales_types\[0\].sales_type: 'retial' is not known; write one of 'retail', 'b2b', 'other'$",
        ),
        (
            "[rules]\nsales_types = [{ sales_type = 'b2b', managers = [1], valid_from = 'soon' }]",
            r"\[rules\] sales_types\[0\].valid_from: a date as 2026-05-01 is expected$",
        ),
        (
            "[rules]\nreturn_statuses = 19",
            r"return_statuses: a list in \[ \] is expected, found a whole number$",
        ),
        ("[rules]\nreturn_statuses = [-1]", r"return_statuses\[0\]: a whole number >= 1 is expected$"),
        (
            "[rules]\nreturn_statuses = [1, 99999999999999999999]",
            r"return_statuses\[1\]: a whole number <= 9\d+",
        ),
        ("[rules]\nbrand_field = ''", r"\[rules\] brand_field: it is empty$"),
        (
            "[ingest]\nevery_minutes = { orders = 1 }",
            r"every_minutes: 'orders' is not known; write one of 'products'",
        ),
        (
            "[ingest]\nevery_minutes = { offers = 'x' }",
            r"every_minutes.offers: a whole number is expected, found",
        ),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    """A wrong setting of any package is refused with one line and exit code 2."""
    with pytest.raises(ConfigError, match=message) as refused:
        read_config(config_file(tmp_path, text))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KEYLAKE_SERVE_PORT", "many"),
        ("KEYLAKE_LAKE_ROOT", " "),
        ("KEYLAKE_RULES_RETURN_STATUSES", "19, x"),
        ("KEYLAKE_RULES_SALES_TYPES", "[{"),
        (
            "KEYLAKE_RULES_SALES_TYPES",
            '[{"sales_type": "b2b", "managers": [1]}, {"sales_type": "other", "managers": [1]}]',
        ),
        ("KEYLAKE_RULES_EXCLUDED_SOURCES", "99999999999999999999"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str) -> None:
    """The message names a variable whose value is wrong."""
    with pytest.raises(ConfigError, match=variable):
        read_config({variable: text})


def test_the_message_for_a_wrong_variable_shows_a_valid_value() -> None:
    """The message for a variable is as detailed as the one for a key of the file."""
    with pytest.raises(ConfigError, match=r"^KEYLAKE_LAKE_MEMORY_LIMIT='5': write it as 2GB$"):
        read_config({"KEYLAKE_LAKE_MEMORY_LIMIT": "5"})
    with pytest.raises(ConfigError, match=r"\[1\]: a whole number is expected, found a text$"):
        read_config({"KEYLAKE_RULES_RETURN_STATUSES": "19, x"})
    with pytest.raises(ConfigError, match=r"^KEYLAKE_RULES_SALES_TYPES='\[\{': not readable as JSON: "):
        read_config({"KEYLAKE_RULES_SALES_TYPES": "[{"})


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    """A file may begin with a byte order mark, because some editors write one."""
    assert read_config(config_file(tmp_path, "\ufeff[serve]\nport = 1")).section(ServeSettings).port == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """If the named file does not exist, the command is refused and the defaults are not used instead."""
    with pytest.raises(ConfigError, match="no such settings file"):
        read_config({"KEYLAKE_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("variable", "text", "nearest"),
    [
        ("KEYLAKE_SERVE_PROT", "1", "KEYLAKE_SERVE_PORT"),
        ("KEYLAKE_LAKE_KEEPDAYS", "30", "KEYLAKE_LAKE_KEEP_DAYS"),
        ("KEYLAKE_SANDBOX_PROT", "1", "KEYLAKE_SANDBOX_PORT"),
        ("KEYLAKE_SERVICE_HOST", "10.96.0.7", "KEYLAKE_SERVE_HOST"),
        ("KEYLAKE_SERVE_PORT_8000_TCP_ADDR", "10.96.0.7", "KEYLAKE_SERVE_PORT"),
        ("KEYLAKE_", "", None),
        ("KEYLAKE_NOTHING", "1", None),
    ],
)
def test_an_unknown_variable_is_reported_and_stops_nothing(
    variable: str, text: str, nearest: str | None
) -> None:
    """A typing error, or a variable of a cluster, is one warning that names the nearest setting."""
    with capture_logs() as logs:
        assert read_config({variable: text}).sections == read_config({}).sections
    [line] = [entry for entry in logs if entry["event"] == "config.variable_ignored"]
    assert line["variable"] == variable
    assert line["nearest_setting"] == (nearest or line["nearest_setting"])


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KEYLAKE_PORT", "tcp://10.96.0.7:8000"),
        ("KEYLAKE_SERVE_PORT", "tcp://10.96.0.7:8000"),
        ("KEYLAKE_SERVE_PORT_8000_TCP", "tcp://10.96.0.7:8000"),
        ("KEYLAKE_LAKE_PORT", "udp://[fd00::7]:8000"),
    ],
)
def test_a_service_link_is_named_as_one(variable: str, text: str) -> None:
    """A variable that Kubernetes sets for a service is ignored, even if a setting has the same name."""
    with capture_logs() as logs:
        assert read_config({variable: text}).sections == read_config({}).sections
    [line] = [entry for entry in logs if entry["event"] == "config.variable_ignored"]
    assert line["variable"] == variable
    assert "Kubernetes" in line["reason"]
    assert "nearest_setting" not in line


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("KEYLAKE_RULES_RATES", '[{"currency": "usd", "rate": "41", "valid_from": "2026-01-01"}]'),
        ("KEYLAKE_RULES_RATES", '[{"currency": "", "rate": "41"}]'),
        ("KEYLAKE_RULES_CURRENCY", "hryvnia"),
    ],
)
def test_a_code_of_a_currency_has_an_example(variable: str, text: str) -> None:
    """A text with a form is refused with an example of the form, also if it has no default value."""
    with pytest.raises(ConfigError, match=r"write it as [A-Z]{3}$"):
        read_config({variable: text})


def test_a_long_value_is_cut() -> None:
    """An error names the variable, and shows only the beginning of a long value."""
    with pytest.raises(ConfigError, match=r"^KEYLAKE_LAKE_THREADS='xxx") as refused:
        read_config({"KEYLAKE_LAKE_THREADS": "x" * 10_000})
    assert len(str(refused.value)) < 300
