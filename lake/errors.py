"""Everything that can go wrong on purpose, in one tree.

One class for each thing a caller does differently. A message says what, what was
found, what was expected and what to do next, in one line: it is all that an
operator sees. ``exit_code`` is what the process ends with.
"""


class LakeError(Exception):
    """A failure that is understood: one line for the operator, no traceback."""

    exit_code = 1


class ConfigError(LakeError):
    """A setting is unknown, malformed or missing."""

    exit_code = 2


class UsageError(LakeError):
    """A command was given something it can't work with."""

    exit_code = 2


class TableMissing(LakeError):
    """No Delta table is at the place where one was expected."""


class NoRelease(LakeError):
    """The release asked for was never published."""


class ContractBroken(LakeError):
    """Rows do not have the columns and types that their table promises."""


class CommitConflict(LakeError):
    """Somebody else committed first; nothing of ours was written."""


class CheckFailed(LakeError):
    """Built rows broke a check; nothing was committed and the last release serves."""

    exit_code = 3


class ModelError(LakeError):
    """A model's header or SQL can't be used."""


class IngestIncomplete(LakeError):
    """Part of what was asked for did not arrive; what arrived is kept, the watermark stays."""

    exit_code = 4


class SourceError(LakeError):
    """The source did not give a usable answer."""


class SourceDown(SourceError):
    """No usable answer after every retry: outage, time-out or garbage."""


class RateLimited(SourceError):
    """The source asks for patience. ``retry_after`` is in seconds, None where it did not say."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyRefused(SourceError):
    """The source does not accept the API key: every request would fail, so all of them stop."""


class NotFound(SourceError):
    """The source has no such thing: an answer, not an outage."""


class RequestRefused(SourceError):
    """The source refuses the request as it was put; asking again can't help."""
