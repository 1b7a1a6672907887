"""What the API of routing rules and of queue rules has in common: who may do what, the row that an id names, the refusal."""

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from django.http import Http404

from mails.access.api_keys import Scope
from mails.api.fields import RULE_FIELDS
from mails.models import QueueRule, RoutingRule
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.resource import ResourceViewSet

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits
Row = TypeVar("Row", QueueRule, RoutingRule)


class RuleViewSet(ResourceViewSet):
    """Base of the view sets of rules, which are listed in the order in which they are asked."""

    verbs = {"create": "add"}
    lookup_value_regex = "[^/]+"
    filter_fields = RULE_FIELDS
    ordering = "position"
    required_scopes = {
        "GET": Scope.PROVIDERS_READ,
        **dict.fromkeys(("POST", "PUT", "DELETE"), Scope.PROVIDERS_WRITE),
    }


def require_permissions(model: type[QueueRule | RoutingRule]) -> dict[str, str]:
    """Return what a person needs for each method of the rules of this model."""
    name = model._meta.model_name
    verbs = {"GET": "view", "POST": "add", "PUT": "change", "DELETE": "delete"}
    return {method: f"mails.{verb}_{name}" for method, verb in verbs.items()}


def find_rule(model: type[Row], rule_id: str) -> Row:
    """Return the rule with this id. Raises Http404."""
    row = model.objects.filter(pk=int(rule_id)).first() if _ID.fullmatch(rule_id) else None
    if row is None:
        raise Http404
    return row


def build_refusal(
    errors: Mapping[str, str], problem: tuple[str, str], *, at: tuple[str, ...] = (), missing: Collection[str] = ()
) -> Problem:
    """Return the 400 with these errors, by place: `conditions.tag`, or empty for the whole rule.

    `problem`: its code and summary. `at`: where in the request the rule is. `missing`: required places that were not given.
    """
    listed = [
        FieldError(
            detail=detail,
            code="required" if place in missing else "invalid",
            pointer=build_pointer(*at, *(place.split(".") if place else ())),
        )
        for place, detail in errors.items()
    ]
    code, summary = problem
    return Problem(400, code, summary, errors=listed)
