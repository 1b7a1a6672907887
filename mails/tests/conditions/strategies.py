"""Any conditions, and the facts of any email, from a small world so that they often meet."""

from hypothesis import strategies as st

from mails.conditions.conditions import ANY_NUMBER, Conditions, MailFacts, Range
from mails.queues import QueueName

DOMAINS = st.sampled_from(["olimpus.com", "mail.olimpus.com", "a.mail.olimpus.com", "hera.gr", "xolimpus.com", "com"])
PATTERNS = st.builds("{}{}".format, st.sampled_from(["", "*."]), DOMAINS)
WORDS = st.sampled_from(["invoice", "receipt", "welcome"])
NUMBERS = st.none() | st.integers(min_value=0, max_value=6)
RANGES = st.builds(Range, least=NUMBERS, most=NUMBERS).filter(lambda numbers: not numbers.is_empty) | st.just(
    ANY_NUMBER
)


def _lists(entries):
    return st.lists(entries, max_size=3, unique=True).map(tuple)


CONDITIONS = st.builds(
    Conditions,
    sender_domain=_lists(PATTERNS),
    recipient_domain=_lists(PATTERNS),
    tag=_lists(WORDS),
    queue=_lists(st.sampled_from(list(map(str, QueueName)))),
    api_key=_lists(WORDS),
    size=RANGES,
    recipients=RANGES.filter(lambda numbers: numbers.most != 0),
)
FACTS = st.builds(
    MailFacts,
    sender_domain=DOMAINS,
    recipient_domains=st.frozensets(DOMAINS, min_size=1, max_size=3),
    tags=st.frozensets(WORDS),
    queue=st.sampled_from(list(map(str, QueueName))),
    api_key=st.just("") | WORDS,
    size=st.integers(min_value=0, max_value=7),
    recipients=st.integers(min_value=1, max_value=7),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | PATTERNS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GIVEN = JSON | st.dictionaries(
    st.sampled_from(["sender_domain", "recipient_domain", "tag", "queue", "api_key", "size", "recipients", "colour"]),
    JSON | st.dictionaries(st.sampled_from(["from", "to", "least"]), JSON, max_size=2),
    max_size=3,
)
