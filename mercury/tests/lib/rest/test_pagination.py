import pytest
from django.contrib.auth.models import User
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from mercury.lib.rest.filters import FilterField, GrammarFilter, ValueType
from mercury.lib.rest.pagination import PER_PAGE, Pagination
from mercury.lib.rest.problems import Problem

pytestmark = pytest.mark.django_db
FIELDS = {"id": FilterField(column="id", kind=ValueType.INTEGER), "name": FilterField(column="username")}


class Gods:
    """As much of a view as a page needs."""

    filter_fields = FIELDS
    ordering = "id"


def page(query="", path="/gods/", view=Gods):
    request = Request(APIRequestFactory().get(f"{path}?{query}", HTTP_HOST="localhost"))
    pages = Pagination()
    pages.rows = pages.paginate_queryset(
        GrammarFilter().filter_queryset(request, User.objects.all(), view), request, view
    )
    return pages


@pytest.fixture
def gods():
    User.objects.bulk_create(User(username=f"god{number:02}") for number in range(45))


def test_the_first_page_of_an_empty_list_is_a_page():
    found = page()

    assert list(found.rows) == []
    assert found.meta == {
        "page": 1,
        "per_page": 20,
        "total": 0,
        "pages": 0,
        "first_url": "http://localhost/gods/?page=1",
        "last_url": "http://localhost/gods/?page=1",
        "prev_url": None,
        "next_url": None,
    }


def test_a_page_in_the_middle_has_four_neighbours(gods):
    found = page("page=2")

    assert [user.username for user in found.rows] == [f"god{number}" for number in range(20, 40)]
    assert (found.meta["total"], found.meta["pages"]) == (45, 3)
    assert found.link == (
        '<http://localhost/gods/?page=1>; rel="first", <http://localhost/gods/?page=1>; rel="prev", '
        '<http://localhost/gods/?page=3>; rel="next", <http://localhost/gods/?page=3>; rel="last"'
    )


def test_every_url_keeps_what_was_asked(gods):
    meta = page("sort=name,desc&page=2&per_page=10&expand=true&filter=name,like,god%25&other=1").meta

    for name, number in (("first_url", 1), ("prev_url", 1), ("next_url", 3), ("last_url", 5)):
        kept = "per_page=10&expand=true&filter=name%2Clike%2Cgod%25&sort=name%2Cdesc"
        assert meta[name] == f"http://localhost/gods/?page={number}&{kept}"


def test_following_next_url_visits_every_row_once(gods):
    seen, query = [], "per_page=7&sort=name"
    while query:
        found = page(query)
        seen += [user.username for user in found.rows]
        query = (found.meta["next_url"] or "").partition("?")[2]

    assert seen == [f"god{number:02}" for number in range(45)]


def test_more_than_the_most_is_cut_to_the_most(gods):
    found = page("per_page=1000")

    assert found.meta["per_page"] == PER_PAGE == 20
    assert len(found.rows) == 20


@pytest.mark.parametrize("number", ["4", "999999999999999999999999999999"])
def test_a_page_beyond_the_last_is_a_404(gods, number):
    with pytest.raises(Problem) as refused:
        page(f"page={number}")

    assert refused.value.status_code == 404
    assert "page 3" in refused.value.text


@pytest.mark.parametrize("parameter", ["page", "per_page"])
@pytest.mark.parametrize("text", ["0", "-1", "one", "1.5", "", "٣", "9" * 5000, "%00"])
def test_a_number_that_is_none_is_a_400(parameter, text):
    with pytest.raises(Problem) as refused:
        page(f"{parameter}={text}")

    assert (refused.value.status_code, refused.value.code) == (400, f"invalid_{parameter}")


@pytest.mark.parametrize(("text", "expand"), [("true", True), ("1", True), ("True", True), ("false", False)])
def test_expand_is_true_or_false(text, expand):
    assert page(f"expand={text}").expand is expand


def test_expand_that_is_neither_is_a_400():
    with pytest.raises(Problem) as refused:
        page("expand=perhaps")

    assert refused.value.code == "invalid_expand"


def test_a_page_costs_two_queries(gods, django_assert_num_queries):
    with django_assert_num_queries(2):
        list(page("page=2&filter=name,like,god%25").rows)


def test_pages_by_key_visit_every_row_once_whatever_comes_before(gods):
    seen, query = [], "cursor=&per_page=7&filter=name,like,god%25"
    while query:
        found = page(query)
        seen += [user.username for user in found.rows]
        User.objects.filter(username__in=seen).delete()  # would move each numbered page
        query = (found.meta["next_url"] or "").partition("?")[2]

    assert seen == [f"god{number:02}" for number in range(45)]


def test_pages_by_key_go_down_where_the_list_does(gods):
    class Reversed(Gods):
        ordering = "-username"

    first = page("cursor=&per_page=2", view=Reversed)
    second = page(first.meta["next_url"].partition("?")[2], view=Reversed)

    assert [user.username for user in [*first.rows, *second.rows]] == ["god44", "god43", "god42", "god41"]


def test_a_page_by_key_counts_nothing(gods, django_assert_num_queries):
    with django_assert_num_queries(2) as asked:
        found = page("cursor=&expand=true")
        list(found.rows)

    assert not any("COUNT(" in query["sql"] for query in asked)
    assert found.meta["next_url"].startswith("http://localhost/gods/?cursor=")
    assert [name for name, value in found.meta.items() if value is None] == [
        "page",
        "total",
        "pages",
        "last_url",
        "prev_url",
    ]
    assert 'rel="first"' in found.link
    assert 'rel="last"' not in found.link


@pytest.mark.parametrize("query", ["cursor=zeus", "cursor=%00", "cursor=&page=1", "cursor=&sort=name"])
def test_a_cursor_that_is_none_is_a_400(gods, query):
    with pytest.raises(Problem) as refused:
        page(query)

    assert (refused.value.status_code, refused.value.code) == (400, "invalid_cursor")
