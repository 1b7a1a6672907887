"""Cells of CSV that no spreadsheet runs as a formula, and the way back."""

import re

from mercury.lib.mail.printable import replace_unprintable

# Where a cell may begin, also for a spreadsheet whose language separates cells by semicolons, and what makes it a formula,
# in the wide letters of East Asian keyboards too. With apostrophes in front, so that `restore_formula` finds those added.
_BEGIN = "(^|;)( *)"
_FORMULA = (
    "'*[-=+@\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}]"
)
_PLAIN = re.compile(f"{_BEGIN}(?={_FORMULA})")
_ESCAPED = re.compile(f"{_BEGIN}'(?={_FORMULA})")
_ON_ONE_LINE = str.maketrans("\t\n", "  ")


def escape_formula(cell: str) -> str:
    """Return the cell so that no spreadsheet runs it, or a part of it, as a formula: a leading apostrophe keeps it text.

    Line breaks become spaces and unprintable marks are replaced, as on the pages.
    """
    return _PLAIN.sub(r"\1\2'", replace_unprintable(cell).translate(_ON_ONE_LINE))


def restore_formula(cell: str) -> str:
    """Return the cell without the apostrophes that `escape_formula` has added."""
    return _ESCAPED.sub(r"\1\2", cell) if "'" in cell else cell
