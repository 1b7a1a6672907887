import contextlib

import pytest
from django.contrib.auth.models import Group, User
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from mercury.lib.rest import filters
from mercury.lib.rest.filters import FilterField, ValueType
from mercury.lib.rest.problems import Problem

FIELDS = {
    "id": FilterField(column="id", kind=ValueType.INTEGER),
    "name": FilterField(column="username"),
    "first": FilterField(column="first_name"),
    "since": FilterField(column="date_joined", kind=ValueType.MOMENT),
}
LABELS = filters.Labels(select=lambda key: User.groups.through.objects.filter(group__name__startswith=key), link="user")
LABELLED = FIELDS | {
    "groups": FilterField(column="group__name", labels=LABELS),
    "groups.*": FilterField(column="group__name", labels=LABELS),
}
NAMES = ["Zeus", "zeta", "hera", "Ägir", "ägypten", "50%", "50 percent", "a_b", "axb", "back\\slash", "comma,semi;"]


@pytest.fixture
def gods(db):
    for number, name in enumerate(NAMES):
        User.objects.create(username=name, first_name="god" if number % 2 else "")


def names(filter_by="", sort_by=""):
    rows = filters.filter_and_sort(User.objects.all(), FIELDS, filter_by=filter_by, sort_by=sort_by, default="id")
    return [user.username for user in rows]


@pytest.mark.parametrize(
    ("filter_by", "expected"),
    [
        ("name,eq,Zeus", ["Zeus"]),
        ("name,eq,zeus", []),
        ("name,ne,Zeus", NAMES[1:]),
        ("name,in,Zeus,hera,nobody", ["Zeus", "hera"]),
        ("name,like,ze%", ["Zeus", "zeta"]),
        ("name,like,Äg%", ["Ägir", "ägypten"]),
        ("name,like,%", NAMES),
        ("name,like,", []),
        ("name,like,50\\%", ["50%"]),
        ("name,like,50%", ["50%", "50 percent"]),
        ("name,like,a_b", ["a_b", "axb"]),
        ("name,like,a\\_b", ["a_b"]),
        ("name,like,%\\", []),
        ("name,like,back\\\\slash", ["back\\slash"]),
        ("name,like,back\\slash", ["back\\slash"]),
        ("name,eq,comma\\,semi\\;", ["comma,semi;"]),
        ("name,eq,back\\\\slash", ["back\\slash"]),
        ("name,lt,Zeus", ["50%", "50 percent"]),
        ("name,ge,hera", ["zeta", "hera", "Ägir", "ägypten"]),
        ("name,gt,a;name,le,axb;first,eq,god", ["a_b"]),
        ("name,gt,a;name,le,axb", ["a_b", "axb"]),
        ("since,lt,2020-01-01", []),
        ("since,gt,2020-01-01T00:00:00Z;since,ge,2020-01-01T00:00:00+14:00", NAMES),
        ("id,gt,9223372036854775807", []),
        ("id,ge,-9223372036854775808", NAMES),
    ],
)
def test_a_filter_finds_the_same_on_every_database(gods, filter_by, expected):
    assert names(filter_by) == expected


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        (
            "name",
            [
                "50 percent",
                "50%",
                "Zeus",
                "a_b",
                "axb",
                "back\\slash",
                "comma,semi;",
                "hera",
                "zeta",
                "Ägir",
                "ägypten",
            ],
        ),
        ("first;name,desc", ["ägypten", "hera", "comma,semi;", "axb", "Zeus", "50 percent"]),
        ("id,desc", NAMES[::-1]),
        ("", NAMES),
    ],
)
def test_a_list_is_ordered_by_code_point_on_every_database(gods, sort_by, expected):
    assert names(sort_by=sort_by)[: len(expected)] == expected


def test_equal_rows_follow_the_direction_that_was_asked_for(gods):
    assert names(sort_by="first")[-len(NAMES[1::2]) :] == NAMES[1::2]
    assert names(sort_by="first,desc") == names(sort_by="first,asc")[::-1]
    assert names(sort_by="first,desc;since,asc") == names(sort_by="first,asc;since,desc")[::-1]


def test_a_field_with_few_values_names_them_where_another_is_asked_for(gods):
    fields = {"first": FilterField(column="first_name", values=("", "even", "odd"))}

    def found(filter_by):
        return filters.filter_and_sort(User.objects.all(), fields, filter_by=filter_by, sort_by="", default="id")

    for filter_by in ("first,eq,sent", "first,ne,Even", "first,in,even,sent"):
        with pytest.raises(Problem) as refused:
            found(filter_by)
        assert refused.value.code == "invalid_filter"
        assert refused.value.extra == {"allowed": {"first": ["", "even", "odd"]}}
        assert "even, odd" in refused.value.text
    assert not found("first,eq,;first,in,even,odd;first,like,e%;first,ge,a").exists()


@pytest.mark.parametrize(
    "filter_by",
    [
        "name",
        "name,eq",
        "nobody,eq,1",
        "password,eq,1",
        "name__contains,eq,1",
        "name,is,1",
        "name,EQ,1",
        "name,eq,a,b",
        "name,eq,a;",
        ";",
        "name,eq,\0",
        "id,like,1",
        "id,eq,one",
        "id,eq,1.0",
        "id,eq,",
        "id,eq,٣",
        "id,eq,9223372036854775808",
        "id,eq," + "9" * 400,
        "since,eq,yesterday",
        "since,eq,0001-01-01T00:00:00+14:00",
        "since,eq,9999-12-31T23:59:59-14:00",
        "name,eq," + "x" * 513,
        "id,in," + ",".join(map(str, range(101))),
        ";".join(["id,gt,1"] * 11),
    ],
)
def test_a_filter_that_cannot_be_read_is_a_400(filter_by):
    with pytest.raises(Problem) as refused:
        names(filter_by)

    assert refused.value.status_code == 400
    assert refused.value.code == "invalid_filter"
    assert refused.value.errors[0].parameter == "filter"


@pytest.mark.parametrize("sort_by", ["nobody", "name,up", "name,asc,desc", ",", "-name", "\0"])
def test_an_order_that_cannot_be_read_is_a_400(sort_by):
    with pytest.raises(Problem) as refused:
        names(sort_by=sort_by)

    assert refused.value.code == "invalid_sort"


def test_an_unknown_field_is_answered_with_the_allowed_list():
    with pytest.raises(Problem) as refused:
        names("nobody,eq,1")

    assert refused.value.extra["allowed"] == {
        "id": ["eq", "ne", "lt", "le", "gt", "ge", "in"],
        "name": ["eq", "ne", "lt", "le", "gt", "ge", "in", "like"],
        "first": ["eq", "ne", "lt", "le", "gt", "ge", "in", "like"],
        "since": ["eq", "ne", "lt", "le", "gt", "ge", "in"],
    }


_clause = st.tuples(
    st.sampled_from([*FIELDS, "nobody", ""]) | st.text(max_size=5),
    st.sampled_from([*filters.OPERATORS, "is"]),
    st.text(max_size=20) | st.integers().map(str) | st.datetimes().map(str) | st.text("%_\\a,;", max_size=9),
).map(",".join)


class AnyFilter(TestCase):
    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(_clause, max_size=3).map(";".join) | st.text(), st.sampled_from(["", "name", "id,desc"]) | st.text()
    )
    def test_any_text_is_a_filter_or_a_400(self, filter_by, sort_by):
        with contextlib.suppress(Problem):
            names(filter_by, sort_by)


class Like(TestCase):
    @classmethod
    def setUpTestData(cls):
        for name in ("a", "A", "ab", "a%", "a\\", "\\", "%", "_", "é", "É"):
            User.objects.create(username=name)

    @settings(max_examples=100, deadline=None)
    @given(st.text("aAb%_\\éÉ", max_size=4))
    def test_like_is_what_its_description_says(self, pattern):
        expected = [user.username for user in User.objects.order_by("id") if _matches(pattern, user.username)]

        found = names("name,like," + pattern.replace("\\", "\\\\"))

        assert found == expected


def _matches(pattern: str, text: str) -> bool:
    """LIKE by its definition, character by character."""
    if not pattern:
        return not text
    first, rest = pattern[0], pattern[1:]
    if first == "\\" and rest and rest[0] in "%_\\":
        return text[:1] == rest[0] and _matches(rest[1:], text[1:])
    if first == "%":
        return any(_matches(rest, text[cut:]) for cut in range(len(text) + 1))
    if first == "_":
        return bool(text) and _matches(rest, text[1:])
    same = text[:1].upper() == first.upper()
    return bool(text) and same and _matches(rest, text[1:])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("groups,eq,gods", ["zeus", "hera"]),
        ("groups,ne,gods", ["orpheus"]),
        ("groups,in,gods,kings", ["zeus", "hera"]),
        ("groups,like,K%", ["zeus"]),
        ("groups,gt,h", ["zeus"]),
        ("groups,eq,gods;groups,eq,kings", ["zeus"]),
        ("groups.k,like,%", ["zeus"]),
        ("groups.k,ne,kings", ["hera", "orpheus"]),
    ],
)
def test_a_field_may_have_several_values_in_a_table_of_their_own(clause, expected):
    for name, groups in {"zeus": ["gods", "kings"], "hera": ["gods"], "orpheus": []}.items():
        user = User.objects.create(username=name)
        user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])

    rows = filters.filter_and_sort(User.objects.all(), LABELLED, filter_by=clause, sort_by="", default="id")

    assert [user.username for user in rows] == expected


@pytest.mark.parametrize(
    ("filter_by", "sort_by"), [("", "groups"), ("groups.*,eq,a", ""), ("groups.,eq,a", ""), ("name.a,eq,a", "")]
)
def test_such_a_field_is_named_right_and_never_sorted_by(filter_by, sort_by):
    with pytest.raises(Problem, match="There is no field"):
        filters.filter_and_sort(User.objects.all(), LABELLED, filter_by=filter_by, sort_by=sort_by, default="id")
