"""Django's page for an error with DEBUG: what it shows of settings and of the environment."""

import re

from django.views.debug import SafeExceptionReporterFilter


class SecretsFilter(SafeExceptionReporterFilter):
    """Also hides the environment, and the URLs of accounts, databases and servers, for they hold passwords and keys."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|ENVIRON|PROVIDER|SINK|DATABASE|REDIS|QUEUES|DSN",
        re.IGNORECASE,
    )
