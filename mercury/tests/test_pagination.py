import pytest
from django.contrib.auth.models import User
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from mercury.lib.filters import Sieve
from mercury.lib.pagination import PER_PAGE, paginate
from mercury.lib.problems import Problem

pytestmark = pytest.mark.django_db
FIELDS = {"name": Sieve("username")}


def page(query="", path="/gods/"):
    request = Request(APIRequestFactory().get(f"{path}?{query}", HTTP_HOST="localhost"))
    return paginate(request, User.objects.all(), FIELDS, default="id")


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
    assert "page 3" in refused.value.words


@pytest.mark.parametrize("parameter", ["page", "per_page"])
@pytest.mark.parametrize("text", ["0", "-1", "one", "1.5", "", "٣", "9" * 5000, "%00"])
def test_a_number_that_is_none_is_a_400(parameter, text):
    with pytest.raises(Problem) as refused:
        page(f"{parameter}={text}")

    assert (refused.value.status_code, refused.value.code) == (400, f"invalid_{parameter}")


@pytest.mark.parametrize(
    ("text", "expand"), [("true", True), ("1", True), ("True", True), ("false", False), ("", False)]
)
def test_expand_is_true_or_false(text, expand):
    assert page(f"expand={text}").expand is expand


def test_expand_that_is_neither_is_a_400():
    with pytest.raises(Problem) as refused:
        page("expand=perhaps")

    assert refused.value.code == "invalid_expand"


def test_a_page_costs_two_queries(gods, django_assert_num_queries):
    with django_assert_num_queries(2):
        list(page("page=2&filter=name,like,god%25").rows)
