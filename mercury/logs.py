"""Logs are events with fields."""

import logging
from typing import Any


def configure(config: dict[str, Any]) -> None:
    """Set up logging from `settings.LOGGING`."""
    logging.basicConfig(level=config["level"])
