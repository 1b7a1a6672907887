"""The emails that a person may see."""

import uuid

from django.http import Http404, HttpRequest

from mails.models import Mail


def get_visible(request: HttpRequest, mail_id: uuid.UUID) -> Mail:
    """Return the email if the user may see it; an unknown id and another user's email give the same 404."""
    mails = Mail.objects.visible_to(api_key=None, user=request.user).select_related("api_key", "user")
    mail = mails.filter(pk=mail_id).first()
    if mail is None:
        raise Http404("No such email, or you do not have access.")
    return mail
