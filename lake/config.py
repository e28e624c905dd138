"""Config: settings files, overridden by the environment, decoded into each package's frozen Struct.

Every command checks every section, whichever package it belongs to. So a typing error
shows immediately, and not on the night another job runs. ``SECTIONS`` has the Structs' import
paths as text, so that ``lake`` does not import the other packages.
"""

import difflib
import os
import pkgutil
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from lake.errors import ConfigError
from lake.messages import has_secret, in_line, in_words

SECTIONS = {
    "lake": "lake.settings:LakeSettings",
    "source": "ingest.settings:SourceSettings",
    "ingest": "ingest.settings:IngestSettings",
    "sandbox": "ingest.sandbox.settings:Sandbox",
    "transform": "transform.settings:TransformSettings",
    "rules": "transform.settings:RulesSettings",
    "serve": "serve.settings:ServeSettings",
    "schedule": "serve.settings:ScheduleSettings",
}
PREFIX = "KEYLAKE_"
# The value of a variable that Kubernetes sets for a service, such as KEYLAKE_SERVE_PORT for keylake-serve.
SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
# Settings that are addresses, in which a person may have put a password or a key: an error never repeats one.
SECRET_KEYS = ("base_url",)
# Why such a variable is ignored, and the next step.
IS_LINK = "Kubernetes set it for a service; enableServiceLinks: false in the pod prevents it"
DEFAULT_FILE = Path(__file__).resolve().parent.parent / "config.toml"
SANDBOX_FILE = DEFAULT_FILE.parent / "ingest" / "sandbox" / "sandbox.toml"
log = structlog.get_logger()
Section = TypeVar("Section", bound=msgspec.Struct)


class Config(msgspec.Struct, frozen=True):
    """The settings file and its sections by name, decoded and checked."""

    file: str
    sections: dict[str, Any]

    def section(self, kind: type[Section]) -> Section:
        """Return the section that is an instance of ``kind``."""
        return next(value for value in self.sections.values() if type(value) is kind)


def read_config(environ: Mapping[str, str] | None = None) -> Config:
    """Read and check every setting of ``$KEYLAKE_CONFIG``, or of the project's own two files.

    The project's files are ``config.toml`` and, for the section [sandbox], ``sandbox.toml``.

    Raises ConfigError if a setting is wrong; the message names the file or variable, and the key.
    """
    environ = os.environ if environ is None else environ
    chosen = environ.get(PREFIX + "CONFIG")
    file = Path(chosen or DEFAULT_FILE)
    kinds = {name: pkgutil.resolve_name(target) for name, target in SECTIONS.items()}
    tables = {} if chosen else read_sections(SANDBOX_FILE, kinds)
    tables |= read_sections(file, kinds)
    overrides = read_overrides(environ, kinds)
    return Config(
        file=str(file),
        sections={
            name: decode_section(name, kind, *tables.get(name, (file, {})), overrides.get(name, {}))
            for name, kind in kinds.items()
        },
    )


def read_sections(file: Path, kinds: Mapping[str, Any]) -> dict[str, tuple[Path, Any]]:
    """Return ``{section: (file, table)}``. Raises ConfigError if a section is not one of ``kinds``."""
    tables = read_toml(file)
    for name in tables:
        if name not in kinds:
            raise ConfigError(f"{file}: unknown section [{name}]; the sections are {', '.join(kinds)}")
    return {name: (file, table) for name, table in tables.items()}


def read_toml(file: Path) -> dict[str, Any]:
    """Return the tables of the file. Raises ConfigError if it is missing or is not TOML."""
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such settings file; name one in {PREFIX}CONFIG") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: not readable as TOML: {in_words(error, None)}") from None


def read_overrides(environ: Mapping[str, str], kinds: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return ``{section: {key: text}}`` from the variables ``KEYLAKE_<SECTION>_<KEY>``.

    A variable that names no setting is reported in the log, with the nearest setting, and ignored:
    Kubernetes sets such variables for a service named keylake.
    """
    settings = {
        f"{PREFIX}{name}_{key}".upper(): (name, key)
        for name, kind in kinds.items()
        for key in kind.__struct_fields__
    }
    overrides: dict[str, dict[str, str]] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        if SERVICE_LINK.fullmatch(text):
            log.warning("config.variable_ignored", variable=variable, reason=IS_LINK)
            continue
        if variable not in settings:
            nearest = difflib.get_close_matches(variable, settings, 1, 0)
            log.warning("config.variable_ignored", variable=variable, nearest_setting=nearest[0])
            continue
        name, key = settings[variable]
        overrides.setdefault(name, {})[key] = text
    return overrides


def decode_section(
    name: str, kind: type[Section], file: Path, values: object, overrides: Mapping[str, str]
) -> Section:
    """Return the section as its Struct; a variable overrides the file. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: [{name}] is {values!r}; expected a table of settings")
    try:
        section = msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: [{name}] {in_words(error, kind, values)}") from None
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, text in overrides.items():
        variable = f"{PREFIX}{name}_{key}".upper()
        try:
            section = msgspec.structs.replace(section, **{key: decode_text(text, fields[key])})
        # msgspec's ValidationError is a ValueError, and a section's own checks raise one too.
        except ValueError as error:
            is_hidden = key in SECRET_KEYS or has_secret(text)
            shown = variable if is_hidden else f"{variable}={in_line(text)!r}"
            raise ConfigError(f"{shown}: {in_words(error, kind, under=key)}") from None
    return section


def decode_text(text: str, kind: Any) -> Any:
    """Return a variable's text as ``kind``; a list is JSON or words separated by commas.

    Raises ValidationError or DecodeError of msgspec if the text is not of this type.
    """
    if not text and kind is not str:
        raise msgspec.ValidationError("it is empty; expected a value")
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        if text[:1] in "[{":
            return msgspec.json.decode(text, type=kind, strict=False)
        if "," in text or getattr(kind, "__origin__", None) in (list, tuple):
            words = [word.strip() for word in text.split(",")]
            return msgspec.convert([word for word in words if word], kind, strict=False)
        raise
