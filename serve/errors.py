"""What a question can be refused for; each maps to one HTTP status in ``serve.app``. Pure."""

from lake.errors import LakeError


class BadQuestion(LakeError):
    """A parameter is unknown, malformed or out of bounds."""


class NothingThere(LakeError):
    """The release or table asked for is not there."""


class NotReady(LakeError):
    """Nothing is published yet, so there is nothing to answer from."""


class TooSlow(LakeError):
    """A query ran into its time limit and was stopped."""
