"""Mercury's tables and database, and otherwise as little of Django as answers a POST."""

from mercury.settings import *  # noqa: F403

ROOT_URLCONF = "bare"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
REST_FRAMEWORK: dict[str, object] = {}
