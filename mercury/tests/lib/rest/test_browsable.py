"""The browsable API names each page once, and shows code as code."""

import pytest

from mails.tests.callers import caller

pytestmark = pytest.mark.django_db


def test_a_collection_is_one_step_of_the_path_and_code_is_shown_as_code():
    page = caller().get("/api/v1.0/mails/batch", headers={"Accept": "text/html"}).content.decode()

    path = page.partition('<ul class="breadcrumb">')[2].partition("</ul>")[0]
    assert path.count("/api/v1.0/mails/") == 2  # the collection, and the batch
    assert '/api/v1.0/mails"' not in path
    assert "<code>idempotency_key</code>" in page
