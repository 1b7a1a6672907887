"""How due mails are found."""

import pytest
from django.db import connection, transaction

from mails.dispatch.due import claim, routes
from mails.dispatch.due.claim import Branch
from mails.models import Mail
from mails.states import RecipientState
from mails.tests.builders import a_mail
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def branches(queues, limit):
    """A branch for each route of the queues."""
    found_routes = routes.find_routes(dict.fromkeys(queues, ""), limit=10)
    return [Branch(queue=route.queue, route=route.name, limit=limit) for route in found_routes]


def found(queues, limit, quarantined=0):
    with claim.lock_claims():
        due = claim.select_due(branches(queues, limit), limit=limit, now=database_clock.now(), quarantined=quarantined)
    subjects = dict(Mail.objects.values_list("pk", "subject"))
    return [subjects[mail.id] for mail in due]


def test_the_oldest_of_all_queues_come_first():
    for number, queue in enumerate(["text", "html", "text", "bulk", "html"]):
        Mail.objects.filter(pk=a_mail(subject=f"mail {number}").pk).update(queue=queue)

    assert found(["html", "text"], 3) == ["mail 0", "mail 1", "mail 2"]
    assert found(["bulk"], 3) == ["mail 3"]


def test_suspects_come_first_but_only_so_many():
    for number in range(4):
        Mail.objects.filter(pk=a_mail(subject=f"mail {number}").pk).update(claims=1 if number in {1, 3} else 0)

    assert found(["text"], 10) == ["mail 0", "mail 2"]
    assert found(["text"], 10, quarantined=1) == ["mail 1", "mail 0", "mail 2"]
    assert found(["text"], 2, quarantined=2) == ["mail 1", "mail 3"]


def test_recipients_come_in_their_order_with_what_became_of_them():
    mail = a_mail()
    mail.recipients.create(address="ares@olympus.gr", state=RecipientState.REFUSED, reason='"no" \\ 550')
    mail.recipients.create(address="hera@olympus.gr", state=RecipientState.PENDING)

    with claim.lock_claims():
        (claimed,) = claim.select_due(branches(["text"], 5), limit=5, now=database_clock.now())

    assert [recipient.reason for recipient in claimed.recipients[1:]] == ['"no" \\ 550', ""]
    assert list(claimed.recipients) == sorted(claimed.recipients)
    assert "ares@olympus.gr" not in {recipient.address for recipient in claimed.open_recipients}


def explain(run):
    """The plan of the one statement that this runs, on tables that are large."""
    asked = []

    def listen(execute, sql, params, many, context):
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # what it would do if there were many mails
        with connection.execute_wrapper(listen):
            run()
        ((sql, params),) = asked
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + sql, params)
        return "\n".join(str(row) for row in cursor.fetchall())


def test_a_backlog_is_read_in_the_order_of_an_index():
    for queue in ("text", "html"):
        Mail.objects.filter(pk=a_mail().pk).update(queue=queue)
    both = branches(["text", "html"], 5)

    plan = explain(lambda: claim.select_due(both, limit=5, now=database_clock.now(), quarantined=2))

    assert plan.count("mail_quarantined") == 2, plan
    assert plan.count("mail_due") == 2, plan


def test_the_routes_are_found_by_one_probe_of_the_index_each():
    plan = explain(lambda: routes.find_routes({"text": "", "html": ""}, limit=5))

    assert plan.count("mail_due") == 2, plan
    assert "route>?" in plan or "(route >" in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
