"""Currency: the currency of a release's amounts, and its sign."""

from lake.messages import in_line
from lake.paths import Lake
from lake.releases.release import Release
from lake.releases.released_table import open_released

CURRENCY = "rules.currency"
# The currency of a release that does not record one.
DEFAULT = "UAH"
# Characters of the longest code of a currency that is shown whole; codes of ISO 4217 have three.
LONGEST_CODE = 12
# Signs of currencies; any other currency is written as its code.
SIGNS = {
    "UAH": "₴",
    "USD": "$",
    "EUR": "€",
    "GBP": "£",
    "PLN": "zł",
    "CZK": "Kč",
    "GEL": "₾",
    "KZT": "₸",
    "TRY": "₺",
}


def read_currency(lake: Lake, release: Release | None) -> str:
    """Return the code of the currency that a release was built with, such as UAH."""
    if release is None or CURRENCY not in release.tables:
        return DEFAULT
    [row] = open_released(lake, release, CURRENCY).read().to_pylist()
    return str(row["currency"])


def sign(currency: str) -> str:
    """Return the sign of a currency, or its code if it has none. Pure.

    The CRM may send any text as a code, so it is escaped and cut.
    """
    return SIGNS.get(currency) or in_line(currency, LONGEST_CODE)
