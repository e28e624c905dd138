"""Errors of a request. Each maps to one HTTP status in ``serve.app``. Pure."""

from lake.errors import LakeError


class BadQuestion(LakeError):
    """A parameter is unknown, malformed or out of bounds."""


class NothingThere(LakeError):
    """The requested release or table does not exist."""


class NotReady(LakeError):
    """There is nothing to answer from, because no release is published yet."""


class TooSlow(LakeError):
    """A query was stopped at its time limit."""
