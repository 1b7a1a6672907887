"""What every resource of the API shares."""

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@method_decorator(conditional_page, name="dispatch")
class Resource(APIView):
    """Answers are for this client only, have an ETag, are asked for anew, and say what is left of the key's rate."""

    takes_mails = False  # whether its POST is a mail; it counts as one that came in, then, if the rate refuses it

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Keep every cache from showing a resource as it was before a write, and tell the rate, whatever the answer is."""
        for name, value in getattr(request, "rate_headers", {}).items():
            response[name] = value
        response["Cache-Control"] = "private, no-cache"
        return super().finalize_response(request, response, *args, **kwargs)
