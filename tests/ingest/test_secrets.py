"""Secrets: a user, password or key in an address is refused, and is never repeated or recorded."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.client import proxy_of
from ingest.settings import SourceSettings
from lake.config import read_config
from lake.errors import ConfigError, UsageError
from lake.ledgers.origin import LEDGER, Origin, claim_origin, read_origin
from lake.messages import has_secret, public_url
from lake.paths import Lake
from tests.support.running import environ_of, run

SECRET = "p4ssw0rd"
REFUSED = [
    f"http://user:{SECRET}@127.0.0.1:8090/v1",
    f"https://{SECRET}@crm.example/v1",
    f"https://user:{SECRET}%40x@crm.example/v1",
    f"https://user:a/{SECRET}@crm.example/v1",
    f"https://user:a@{SECRET}@crm.example/v1",
    f"https://crm.example/v1?api_key={SECRET}",
    f"https://crm.example/v1?{SECRET}",
    f"https://crm.example/v1#token={SECRET}",
    f"https://user:{SECRET}@/v1",
    f"ftp://user:{SECRET}@crm.example/v1",
    f"https://user:{SECRET}\n@crm.example/v1",
    f"https:\\\\user:{SECRET}@crm.example/v1",
    f"https://user%3A{SECRET}%40crm.example/v1",
    f"https://crm.example/;token={SECRET}/v1",
    f"https://crm.example/v1&key={SECRET}",
    f"https://crm.example:{SECRET}/v1",
    f"https://crm.example:1{SECRET}",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_with_a_secret_is_refused_without_it(tmp_path: Path, address: str) -> None:
    """The variable, the file and a program get an error that names the setting and the next step."""
    file = tmp_path / "keylake.toml"
    file.write_text(f"[source]\nbase_url = '''{address}'''\n".replace("\\", "\\\\").replace("'''", '"""'))
    for environ in ({"KEYLAKE_SOURCE_BASE_URL": address}, {"KEYLAKE_CONFIG": str(file)}):
        with pytest.raises(ConfigError, match=r"base_url|BASE_URL") as refused:
            read_config(environ)
        assert SECRET not in str(refused.value)
        assert "write" in str(refused.value)


@pytest.mark.parametrize("address", REFUSED[:9])
def test_no_settings_have_a_secret(address: str) -> None:
    """No part of the program can get an address with a secret, so none can repeat it."""
    with pytest.raises(ValueError, match="put the key into KEYCRM_API_KEY") as refused:
        SourceSettings(base_url=address)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://openapi.keycrm.app/v1",
        "http://127.0.0.1:8090/v1/",
        "http://[::1]:80/v1",
        "https://crm.example",
        "https://крамниця.укр/a~b/%20/v1",
    ],
)
def test_a_plain_address_is_accepted(address: str) -> None:
    """A host, perhaps a port, and a path are all that the CRM needs."""
    assert SourceSettings(base_url=address).base_url == address
    assert public_url(address) == address
    assert not has_secret(address)


@pytest.mark.parametrize("address", REFUSED)
def test_the_public_part_of_an_address_has_no_secret(address: str) -> None:
    """What is recorded and shown has at most the scheme, the host and the path."""
    assert SECRET not in public_url(address)
    assert has_secret(address)


def test_a_ledger_gets_no_secret(lake: Lake) -> None:
    """The origin is recorded and compared without a secret, also if an older version recorded one."""
    claim_origin(lake, f"https://user:{SECRET}@crm.example/v1?key={SECRET}")
    assert read_origin(lake) == "https://crm.example/v1"
    files = [path.read_bytes() for path in Path(lake.place).rglob("*") if path.is_file()]
    assert files
    assert not [content for content in files if SECRET.encode() in content]
    claim_origin(lake, "https://crm.example/v1")
    with pytest.raises(UsageError, match=r"was filled from https://crm\.example/v1, and") as refused:
        claim_origin(lake, f"https://user:{SECRET}@other.example/v1")
    assert SECRET not in str(refused.value)


def test_an_origin_that_an_older_version_recorded_is_shown_without_its_secret(lake: Lake) -> None:
    """Its shop is still the same."""
    LEDGER.append(lake, [Origin(f"https://u:{SECRET}@crm.example/v1", datetime.now(UTC))])
    assert read_origin(lake) == "https://crm.example/v1"
    claim_origin(lake, "https://crm.example/v1/")


def test_a_command_says_nothing_of_a_secret(lake: Lake) -> None:
    """An ingest with a password in the address ends with exit code 2, and leaves no lake."""
    done = run(environ_of(lake, f"http://user:{SECRET}@127.0.0.1:9/v1"), "ingest", "full")
    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr
    assert re.search(r"KEYLAKE_SOURCE_BASE_URL: base_url has a user", done.stderr)
    assert not Path(lake.place).exists()


@pytest.mark.parametrize("address", [f"bob:{SECRET}", f"user:{SECRET}!", f"ключ {SECRET}", SECRET])
def test_no_error_repeats_an_address(address: str) -> None:
    """A text that is no address at all is not repeated either: it may be the key in the wrong place."""
    with pytest.raises(ConfigError, match="BASE_URL: ") as refused:
        read_config({"KEYLAKE_SOURCE_BASE_URL": address})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (f"http://user:{SECRET}#x@proxy:3128", "is no address; write http"),
        (f"http://user:a/{SECRET}@proxy:3128", "is no address; write http"),
        (f"http://us%3Aer:{SECRET}@proxy:3128", "is no address; write http"),
        (f"http://user:{SECRET}@proxy:99999", "is no address; write http"),
        (f"http://user:{SECRET}@", "is no address; write http"),
        (f"http://user:[{SECRET}@proxy:1", "is no address; write http"),
        (f"socks5://user:{SECRET}@proxy:1080", "is no HTTP proxy, and no other one is supported"),
        (f"socks5h://{SECRET}@proxy", "is no HTTP proxy, and no other one is supported"),
        (f"{SECRET}://proxy:1", "is no HTTP proxy, and no other one is supported"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_can_not_be_used_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, problem: str
) -> None:
    """The error is one line that names the variable and what is supported, without the address."""
    monkeypatch.setenv(variable, address)
    with pytest.raises(ConfigError, match=f"^{variable} {problem}") as refused:
        proxy_of("https://crm.example/v1")
    assert SECRET not in str(refused.value)


def test_a_proxy_for_all_addresses_counts_if_no_other_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """ALL_PROXY is used for a source that has no proxy of its own, and never for this machine."""
    monkeypatch.setenv("all_proxy", "http://all.example:3128")
    assert str(proxy_of("https://crm.example/v1")["proxy"]) == "http://all.example:3128"
    assert proxy_of("http://127.0.0.1:8090/v1") == {}
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    assert str(proxy_of("https://crm.example/v1")["proxy"]) == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "crm.example")
    assert proxy_of("https://crm.example/v1") == {}
