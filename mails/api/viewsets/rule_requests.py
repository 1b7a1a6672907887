"""What the requests of routing rules and of queue rules have in common: the row that an id names, and the refusal."""

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from django.http import Http404

from mails.models import QueueRule, RoutingRule
from mercury.lib.rest.problems import FieldError, Problem, build_pointer

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # within 64 bits
Row = TypeVar("Row", QueueRule, RoutingRule)


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
