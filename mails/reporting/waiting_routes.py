"""The routes on which emails wait, and how many emails: by the index `mail_due`."""

from collections.abc import Collection, Iterator

from mails.dispatch.due import routes
from mails.models import Mail
from mails.queues import QueueName
from mails.states import DUE
from providers.routing.rules import RoutingConstraint

COUNTED_AT_MOST = 100_000  # emails
ROUTES_READ = 1000


def list_constraints() -> Iterator[tuple[str, RoutingConstraint]]:
    """Yield the routes on which emails wait, each with what the email itself says about accounts. One query."""
    for route in routes.find_routes(dict.fromkeys(QueueName.values, ""), limit=ROUTES_READ, even_paused=True):
        yield route.name, routes.parse_route(route.name).accounts.constraint


def count_emails(names: Collection[str]) -> int:
    """Count the emails that wait on these routes, 100,000 at most."""
    if not names:
        return 0
    mails = Mail.objects.filter(queue__in=QueueName.values, route__in=names, status__in=DUE)
    return mails.order_by().values("queue")[:COUNTED_AT_MOST].count()
