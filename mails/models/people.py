"""Names of people as pages show them."""


def format_person(by: str) -> str:
    """Who did something, as people are told: a person by the name alone."""
    return by.removeprefix("user:")
