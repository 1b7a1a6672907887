"""The function in SQL that makes text capitals; SQLite's own knows ASCII only."""

CAPITALS = "mercury_capitals"  # its name in SQL


def list_capitals(text: object) -> object:
    """Return text in capitals, each letter as one, which `ß` has none of; anything else as it is."""
    if not isinstance(text, str):
        return text
    found = text.upper()
    if len(found) == len(text):
        return found
    return "".join(upper if len(upper := letter.upper()) == 1 else letter for letter in text)
