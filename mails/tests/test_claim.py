"""How due mails are found."""

import pytest
from django.db import connection, transaction

from mails.dispatch import claim
from mails.models import Mail
from mails.tests.builders import a_mail
from mercury.lib import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def found(lanes, limit):
    with claim.turn():
        return [mail.subject for mail in claim.due(lanes, limit=limit, now=database_clock.now())]


def test_the_oldest_of_all_lanes_come_first():
    for number, lane in enumerate(["text", "html", "text", "bulk", "html"]):
        Mail.objects.filter(pk=a_mail(subject=f"mail {number}").pk).update(lane=lane)

    assert found(["html", "text"], 3) == ["mail 0", "mail 1", "mail 2"]
    assert found(["bulk"], 3) == ["mail 3"]


@pytest.mark.parametrize("last_chance", [False, True])
def test_a_backlog_is_read_in_the_order_of_an_index(last_chance):
    a_mail()
    asked = []

    def listen(execute, sql, params, many, context):
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # what it would do if there were many mails
        with connection.execute_wrapper(listen):
            claim.due(["text", "html"], limit=5, now=database_clock.now(), last_chance=last_chance)
        sql, params = next(query for query in asked if "mails_mail" in query[0])
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + sql, params)
        plan = "\n".join(str(row) for row in cursor.fetchall())

    assert plan.count("mail_last_chance" if last_chance else "mail_due") == 2, plan
