"""Wording: numbers of things. What is wrong with settings and headers is told in their own tests."""

from lake.messages import counted


def test_one_is_one_and_others_are_many() -> None:
    """None of them too."""
    assert [counted(number, "finding") for number in (0, 1, 1200)] == [
        "0 findings",
        "1 finding",
        "1,200 findings",
    ]
