"""What every resource of the API shares."""

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@method_decorator(conditional_page, name="dispatch")
class Resource(APIView):
    """Answers are for this client only, have an ETag, and are asked for anew."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Keep every cache from showing a resource as it was before a write."""
        response["Cache-Control"] = "private, no-cache"
        return super().finalize_response(request, response, *args, **kwargs)
