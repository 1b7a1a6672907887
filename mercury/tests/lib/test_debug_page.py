import pytest

from mercury.lib.debug_page import SecretsFilter

pytestmark = pytest.mark.one_leg


def test_the_page_of_an_error_shows_no_password_of_the_environment(settings):
    settings.MERCURY_ENVIRONMENT = {
        "PROVIDER_OLYMPUS": "mailgun://:thunder@mg.olimpus.com",
        "STYX": "amqp://zeus:thunder@styx",
    }
    settings.REDIS_URL = "redis://:thunder@hades:6379/0"
    settings.SENTRY_DSN = "https://thunder@sentry.olimpus.com/1"

    shown = SecretsFilter().get_safe_settings()

    assert "thunder" not in repr(shown)
    assert shown["MERCURY_SANDBOX_KEEP"] == settings.MERCURY_SANDBOX_KEEP


def test_nor_what_a_request_was_given_of_it(rf):
    request = rf.get(
        "/", PROVIDER_OLYMPUS="mailgun://:thunder@mg.olimpus.com", DATABASE_URL="postgres://zeus:thunder@hades/m"
    )

    assert "thunder" not in repr(SecretsFilter().get_safe_request_meta(request))
