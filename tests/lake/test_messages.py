"""Messages: counts with their noun. The tests of settings and of headers cover the texts of errors."""

from lake.messages import counted


def test_one_is_one_and_others_are_many() -> None:
    """Zero takes the plural, and thousands are separated."""
    assert [counted(number, "finding") for number in (0, 1, 1200)] == [
        "0 findings",
        "1 finding",
        "1,200 findings",
    ]
