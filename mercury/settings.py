"""All settings. They are read from the environment only here; `docs/settings.md` explains each."""

import datetime as dt
import os
import sys
from pathlib import Path

import environ
from django.core.management.utils import get_random_secret_key

from mercury.lib import variables
from mercury.lib.runtime import private_files
from mercury.lib.storages.options import build_storage
from mercury.lib.variables import (
    parse_choice,
    parse_database_url,
    parse_duration_between,
    parse_integer_between,
    parse_list,
    parse_nonempty_list,
    parse_redis_url,
    parse_size_between,
    parse_switch,
)

BASE_DIR = Path(__file__).resolve().parent.parent


env = variables.Variables(os.environ)
if "pytest" not in sys.modules:  # tests must not depend on the settings of the machine
    env.errors += variables.load_env_file(BASE_DIR / ".env")


def _make_data_folder(path: Path) -> bool:
    """Create the data folder, readable only by its owner: it holds emails and secrets. Return False, and note an error, on failure."""
    try:
        private_files.make_folder(path)
    except OSError as error:
        env.errors.append(
            f"MERCURY_DATA: cannot create the folder {variables.quote_value(str(path))} ({error.strerror}). "
            "Use a writable folder, or set SECRET_KEY and DATABASE_URL."
        )
        return False
    return True


def _generate_secret(path: Path) -> str:
    """Return the secret in the data folder; generate it the first time, so that a laptop needs no setup."""
    try:
        if _make_data_folder(path.parent):
            _write_secret(path)
            return path.read_text().strip()
    except OSError as error:
        env.errors.append(
            f"MERCURY_DATA: cannot store the generated secret in {variables.quote_value(str(path.parent))} ({error.strerror}). "
            "Use a writable folder, or set SECRET_KEY."
        )
    return get_random_secret_key()  # never used: the error stops the start


def _write_secret(path: Path) -> None:
    try:
        with path.open("x") as file:
            path.chmod(0o600)
            file.write(get_random_secret_key())
    except FileExistsError:
        pass  # another process created it first


# General

MERCURY_DATA = env.read("MERCURY_DATA", variables.parse_folder, str(BASE_DIR / "data"))
MERCURY_ENVIRONMENT = dict(os.environ)  # providers.accounts.environment reads accounts from it
DEBUG = env.read("DEBUG", parse_switch, "false")
TESTING = "pytest" in sys.modules
_set_secret = env.read("SECRET_KEY", variables.parse_secret)
MERCURY_SECRET_IS_GENERATED = not _set_secret
SECRET_KEY = _set_secret or _generate_secret(MERCURY_DATA / "secret-key")
SECRET_KEY_FALLBACKS = env.read("SECRET_KEY_FALLBACKS", parse_list(variables.parse_secret))
ALLOWED_HOSTS = env.read(
    "ALLOWED_HOSTS", parse_nonempty_list(variables.parse_served_host, "mail.example.com"), "localhost,127.0.0.1,[::1]"
)
CSRF_TRUSTED_ORIGINS = env.read("CSRF_TRUSTED_ORIGINS", parse_list(variables.parse_origin))
CSRF_FAILURE_VIEW = "mercury.error_pages.show_csrf_failure"
DEFAULT_EXCEPTION_REPORTER_FILTER = "mercury.lib.debug_page.SecretsFilter"
MERCURY_BASE_URL = env.read("MERCURY_BASE_URL", variables.parse_base_url)
ROOT_URLCONF = "mercury.urls"
WSGI_APPLICATION = "mercury.wsgi.application"

INSTALLED_APPS = [
    "mercury.apps.MercuryConfig",
    "mercury.apps.MercuryAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django_rq",
    "axes",
    "anymail",
    "mercury.lib.audit.apps.AuditConfig",
    "providers.apps.ProvidersConfig",
    "mails.apps.MailsConfig",
]

MIDDLEWARE = [
    "mercury.middleware.request_id.set_request_id",
    "mercury.middleware.head_requests.leave_out_bodies",
    "mercury.middleware.database.bound_waits",
    "mercury.middleware.client_ip.set_client_address",
    "mercury.middleware.unreadable_headers.refuse_unreadable_headers",
    "mercury.middleware.admin_queries.reject_unreadable_queries",
    "mercury.middleware.body_limits.read_chunked_body",
    "django.middleware.security.SecurityMiddleware",
    "mercury.middleware.csp.add_security_policy",
    "mercury.middleware.body_limits.limit_body",
    "mercury.middleware.liveness.answer_liveness",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "mercury.middleware.sessions.BrowserSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "mercury.middleware.sessions.BrowserAuthenticationMiddleware",
    "mercury.middleware.body_limits.limit_large_requests",
    "mercury.middleware.sessions.BrowserMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "mercury.middleware.database.answer_unavailable",
    "mercury.middleware.sessions.BrowserLockoutMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# The database: the source of truth

_database_url = env.read("DATABASE_URL", parse_database_url) or f"sqlite:///{MERCURY_DATA / 'mercury.sqlite3'}"
DATABASES = {"default": environ.Env.db_url_config(_database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if DATABASES["default"]["NAME"] == str(MERCURY_DATA / "mercury.sqlite3"):
    _make_data_folder(MERCURY_DATA)
if "sqlite" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["ENGINE"] = "mercury.lib.database.fair_sqlite"
    DATABASES["default"]["CONN_MAX_AGE"] = 60  # opening the file for each request costs a quarter of its time
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
    DATABASES["default"]["TEST"] = {
        "NAME": str(MERCURY_DATA / "test.sqlite3")
    }  # threads can share a file, but not a database in memory
else:
    if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
        DATABASES["default"]["ENGINE"] = "mercury.lib.database.bounded_postgresql"
    DATABASES["default"] |= {
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # required by pgbouncer in transaction mode
        "OPTIONS": {
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        }
        | DATABASES["default"].get("OPTIONS", {}),
    }

MERCURY_DATABASE_TIMEOUT = env.read("MERCURY_DATABASE_TIMEOUT", parse_duration_between("500ms", "60s"), "3s")

# Redis: wakes workers; holds no state

REDIS_URL = env.read("REDIS_URL", parse_redis_url)
MERCURY_EMBEDDED = not REDIS_URL  # the web process dispatches
MERCURY_REDIS_TIMEOUT = 0.25  # seconds
RQ = {"WORKER_CLASS": "mails.worker.jobs.QueueWorker"}  # of a plain `rqworker`
RQ_SHOW_ADMIN_LINK = False  # no pages of django-rq: they read, delete and run what Redis contains
RQ_QUEUES = {
    queue: {
        "URL": REDIS_URL or "redis://127.0.0.1:6379/0",
        "DEFAULT_TIMEOUT": -1,
        "DEFAULT_RESULT_TTL": 0,
        "SERIALIZER": "rq.serializers.JSONSerializer",
        "REDIS_CLIENT_KWARGS": {"socket_connect_timeout": MERCURY_REDIS_TIMEOUT},
    }
    for queue in ("text", "html", "attachment", "large", "bulk")
}

# Sending

MERCURY_DELIVERY_GUARANTEE = env.read("MERCURY_DELIVERY_GUARANTEE", str, "at-least-once")
MERCURY_RETRY_BACKOFF = tuple(
    env.read(
        "MERCURY_RETRY_BACKOFF",
        parse_nonempty_list(parse_duration_between("10ms", "7d"), "30s,2m"),
        "30s,2m,10m,30m,1h,2h",
    )
)
MERCURY_MAX_CONCURRENCY = env.read("MERCURY_MAX_CONCURRENCY", parse_integer_between(1, 10_000), "256")
MERCURY_QUEUE_SHARES = env.read(
    "MERCURY_QUEUE_SHARES",
    variables.parse_shares("text=100", "html=100", "attachment=75", "large=25", "bulk=50"),
    "none",
)
MERCURY_SEND_TIMEOUT = env.read("MERCURY_SEND_TIMEOUT", parse_duration_between("100ms", "1h"), "20s")
MERCURY_CONNECT_TIMEOUT = env.read(
    "MERCURY_CONNECT_TIMEOUT",
    parse_duration_between("10ms", "1h"),
    f"{min(3.0, MERCURY_SEND_TIMEOUT.total_seconds())}s",
)
MERCURY_EHLO_NAME = env.read("MERCURY_EHLO_NAME", variables.parse_ehlo_name)
MERCURY_FINAL_REPLY_TIMEOUT = env.read("MERCURY_FINAL_REPLY_TIMEOUT", parse_duration_between("100ms", "1h"), "10m")
MERCURY_LEASE = env.read("MERCURY_LEASE", parse_duration_between("1s", "1d"), "50s")
MERCURY_EXPIRY = env.read("MERCURY_EXPIRY", parse_duration_between("1s", "36500d"), "3d")
MERCURY_MAX_SCHEDULE = env.read("MERCURY_MAX_SCHEDULE", parse_duration_between("1m", "3650d"), "365d")
MERCURY_START_PAUSED = env.read("MERCURY_START_PAUSED", parse_switch, "false")
MERCURY_PRIVATE_HOSTS_ALLOWED = env.read("MERCURY_PRIVATE_HOSTS_ALLOWED", parse_list(variables.parse_host))
MERCURY_ENCRYPTION_KEYS = env.read("MERCURY_ENCRYPTION_KEYS", parse_list(variables.parse_fernet_key))
MERCURY_SANDBOX_KEEP = env.read("MERCURY_SANDBOX_KEEP", parse_integer_between(1, 1_000_000), "1000")

# Submission

MERCURY_MAX_SIZE = env.read("MERCURY_MAX_SIZE", parse_size_between("10kB", "100MB"), "10MB")
MERCURY_LARGE_SIZE = env.read("MERCURY_LARGE_SIZE", parse_size_between("10kB", "200MB"), "2MB")
MERCURY_MAX_RECIPIENTS = env.read("MERCURY_MAX_RECIPIENTS", parse_integer_between(1, 10_000), "50")
MERCURY_PRIVATE_DOMAINS = env.read("MERCURY_PRIVATE_DOMAINS", variables.parse_private_domains, "local,localhost,test")

# Files

MERCURY_MAX_ATTACHMENT_SIZE = env.read("MERCURY_MAX_ATTACHMENT_SIZE", parse_size_between("1kB", "100MB"), "5MB")
MERCURY_MAX_ATTACHMENTS_SIZE = env.read("MERCURY_MAX_ATTACHMENTS_SIZE", parse_size_between("1kB", "100MB"), "20MB")
DATA_UPLOAD_MAX_MEMORY_SIZE = MERCURY_MAX_SIZE + MERCURY_MAX_ATTACHMENTS_SIZE * 4 // 3 + 64 * 1024  # in base64
MERCURY_MAX_FILE_SIZE = env.read("MERCURY_MAX_FILE_SIZE", parse_size_between("1kB", "2GB"), "100MB")
MERCURY_FILE_QUOTA = env.read("MERCURY_FILE_QUOTA", parse_size_between("1kB", "1000000GB"), "5GB")
MERCURY_FILE_RETENTION = env.read("MERCURY_FILE_RETENTION", parse_duration_between("1m", "36500d"), "30d")
MERCURY_LINK_DOWNLOADS = env.read("MERCURY_LINK_DOWNLOADS", parse_integer_between(0, 1_000_000), "0")
_file_storage = env.read("MERCURY_FILE_STORAGE", build_storage)

# Retention

MERCURY_BODY_RETENTION = env.read("MERCURY_BODY_RETENTION", parse_duration_between("1s", "36500d"), "30d")
MERCURY_MAIL_RETENTION = env.read("MERCURY_MAIL_RETENTION", parse_duration_between("1s", "36500d"), "365d")
MERCURY_LINK_EXPIRY = env.read(
    "MERCURY_LINK_EXPIRY",
    parse_duration_between("1m", "36500d"),
    f"{min(dt.timedelta(days=30), MERCURY_MAIL_RETENTION).total_seconds()}s",  # a link ends with its email
)

# Users and applications

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "submit"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = dt.timedelta(minutes=10)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_HANDLER = "mercury.login.LogInLimits"  # adds two wider limits
AXES_CLIENT_IP_CALLABLE = "mercury.login.get_client_network"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # a lockout lasts ten minutes, whatever others try
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "mercury.error_pages.show_locked_out"
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = ["axes.W002"]  # it looks for AxesMiddleware by name; BrowserLockoutMiddleware is one

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "mails.access.authentication.KeyAuthentication",
        "mails.access.authentication.PersonAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["mails.access.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["mails.access.throttles.KeyRateThrottle"],
    "DEFAULT_PARSER_CLASSES": ["mails.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "mercury.lib.rest.browsable.ApiPageRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "mails.api.negotiation.Negotiation",
    "DEFAULT_SCHEMA_CLASS": "mercury.lib.rest.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "mercury.lib.rest.problems.handle_exception",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Mercury",
    "DESCRIPTION": "A gateway for transactional email: submit an email, and check at any time what happened to it and why.",
    "VERSION": "1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["mercury.lib.rest.routers.drop_aliases"],
    "POSTPROCESSING_HOOKS": [],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# Pages

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "mercury.formats"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "mercury_files": _file_storage,
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG or TESTING
WHITENOISE_AUTOREFRESH = DEBUG or TESTING  # finds files on request: a scan at each start would slow every test client
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

# Security: on with MERCURY_HTTPS

MERCURY_PROXIES = env.read("MERCURY_PROXIES", parse_integer_between(0, 20), "0")
MERCURY_HTTPS = env.read("MERCURY_HTTPS", parse_switch, "false")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if MERCURY_HTTPS else None
SECURE_SSL_REDIRECT = MERCURY_HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if MERCURY_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = MERCURY_HTTPS
SECURE_HSTS_PRELOAD = MERCURY_HTTPS
SESSION_COOKIE_SECURE = MERCURY_HTTPS
CSRF_COOKIE_SECURE = MERCURY_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]

# Servers of the full leg of `manage.py test`

_TEST_DATABASE_URL = "postgres://postgres@127.0.0.1:5432/postgres"
MERCURY_TEST_DATABASE_URL = env.read("MERCURY_TEST_DATABASE_URL", parse_database_url, _TEST_DATABASE_URL)
MERCURY_TEST_REDIS_URL = env.read("MERCURY_TEST_REDIS_URL", parse_redis_url, "redis://127.0.0.1:6379/15")

# Logs

LOG_LEVEL = env.read("LOG_LEVEL", parse_choice("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL"), "INFO")
LOG_FORMAT = env.read("LOG_FORMAT", parse_choice("console", "json"), "console")
LOGGING_CONFIG = "mercury.observability.logs.configure_logging"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}

# Exception reports

SENTRY_DSN = env.read("SENTRY_DSN", variables.parse_sentry_dsn)

# Metrics

METRICS_TOKEN = env.read("METRICS_TOKEN", variables.parse_secret)
METRICS_FROM = env.read("METRICS_FROM", parse_list(variables.parse_network))

# The names read above; `check` warns about any other MERCURY_ name

MERCURY_NAMES = frozenset(env.names)
env.raise_on_errors()
