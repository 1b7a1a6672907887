"""Base of the view sets of emails and events: the client of a request, and the emails that it may see."""

import re
import uuid

import structlog
from django.db.models import QuerySet
from django.http import Http404
from rest_framework.request import Request

from mails.files.uploads import Owner
from mails.models import ApiKey, Mail
from mails.models.querysets import MailQuerySet
from mercury.lib.rest.problems import FieldError, Problem
from mercury.lib.rest.resource import ResourceViewSet

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_FLAGS = {"true": True, "false": False}


class OwnMailsViewSet(ResourceViewSet):
    """A view set over the emails that the client may see."""

    lookup_value_regex = "[^/]+"

    def list_visible(self) -> MailQuerySet:
        """Return these emails."""
        return Mail.objects.visible_to(api_key=get_key(self.request), user=self.request.user)


def get_key(request: Request) -> ApiKey | None:
    """Return the API key of the request; None for a signed-in person."""
    return request.auth if isinstance(request.auth, ApiKey) else None


def read_idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key of the request, as it was sent; None without one."""
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    return key


def get_owner(request: Request) -> Owner:
    """Return whom the files of this request belong to."""
    key = get_key(request)
    return Owner(api_key=key, user=None if key else request.user)


def format_recorder(request: Request) -> str:
    """Return who asks, as `created_by` names them; no actor of Mercury's own has a name of this form."""
    key = get_key(request)
    return f"key:{key.name}" if key else f"user:{request.user.get_username()}"[:128]


def find_mail(rows: QuerySet[Mail], mail_id: str) -> Mail:
    """Return the email of this id among `rows`. A malformed id, an unknown one and somebody else's are all the same 404."""
    mail = rows.filter(pk=uuid.UUID(mail_id)).first() if UUID.fullmatch(mail_id) else None
    if mail is None:
        raise Http404
    structlog.contextvars.bind_contextvars(mail=str(mail.pk))  # in every log line of the rest of this request
    return mail


def read_flag(request: Request, name: str) -> bool:
    """Return a query parameter that is true or false; false if it is not there. Raises Problem."""
    text = request.query_params.get(name, "false").lower()
    if text not in _FLAGS:
        detail = f"'{text[:40]}' is neither true nor false."
        error = FieldError(detail=detail, code=f"invalid_{name}", parameter=name)
        raise Problem(400, error.code, f"{name}: {detail}", errors=[error])
    return _FLAGS[text]
