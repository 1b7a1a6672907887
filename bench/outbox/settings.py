"""Settings of the outbox; what differs from peer to peer comes from the environment."""

import json
import os
from pathlib import Path

SECRET_KEY = "of-a-benchmark"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
BROKER_URL = os.environ["OUTBOX_REDIS"]
DATABASES = {"default": json.loads(os.environ["OUTBOX_DATABASE"])}
REUSE = os.environ.get("OUTBOX_REUSE") == "1"  # connections to the database and to the provider
DATABASES["default"]["CONN_MAX_AGE"] = None if REUSE else 0
INSTALLED_APPS = ["django.contrib.contenttypes", "outbox"]
EMAIL_BACKEND = os.environ.get("OUTBOX_BACKEND", "anymail.backends.sendgrid.EmailBackend")
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ["OUTBOX_SMTP_PORT"])
ANYMAIL = {"SENDGRID_API_KEY": "SG.local-provider-key", "SENDGRID_API_URL": os.environ["OUTBOX_PROVIDER"]}
LOGGING_CONFIG = None
ATTACHMENT = os.environ.get("OUTBOX_ATTACHMENT", "")  # file of each email, which then has HTML, too
MEDIA_ROOT = Path(ATTACHMENT).parent

if os.environ.get("OUTBOX_POST_OFFICE"):
    INSTALLED_APPS.append("post_office")
    # A success is recorded in the mail's status; the log of its own is for failures.
    POST_OFFICE = {
        "BACKENDS": {"default": EMAIL_BACKEND},
        "LOG_LEVEL": 1,
        **json.loads(os.environ["OUTBOX_POST_OFFICE"]),
    }
    TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
