"""Names of people as pages show them."""


def format_person(by: str) -> str:
    """Return the recorded name as people read it: a user without the prefix."""
    return by.removeprefix("user:")
