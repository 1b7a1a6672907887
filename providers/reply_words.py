"""Find what a provider's words are about: a limit, the log-in, the sender, one mailbox, the message. Pure.

Providers use one code for many things, so the words decide if the code does not. The first topic that matches counts:
those that ask to wait come before those that end an email.
"""

import re
from enum import Enum

from providers.outcomes import QuotaPeriod

MAX_WAIT = 15 * 60.0  # seconds; a provider that asks for more is called again after that
DEFAULT_WAIT = 30.0  # seconds, if a limit does not say how long
EARLIER_WAIT = 5.0  # for an earlier request with the same key to end
HOURLY_WAIT = MAX_WAIT  # a limit per hour is not over in half a minute


class Topic(Enum):
    """The subject of a refusal."""

    SENDER_REJECTED = "the sender's address was rejected"
    MAILBOX_BUSY = "one mailbox gets too much email now"
    GREYLISTED = "first contact is delayed"
    MAILBOX_FULL = "one mailbox is full"
    QUOTA = "the account's limit per day or month, or its credit"
    HOURLY = "the account's limit per hour"
    MANY_RECIPIENTS = "more recipients than one request may have"
    CONNECTIONS = "more connections than the account may have"
    RATE = "more than the account may send in a short time"
    HELO = "the name in EHLO"
    BAD_ADDRESS = "the recipient's address is not valid"
    NO_MAILBOX = "the mailbox does not exist"
    MAILBOX_CLOSED = "the mailbox no longer exists"
    SUSPENDED = "the account is suspended, not activated or not paid"
    OPTIONS = "something that the account's options name does not exist"
    IN_PROGRESS = "an earlier request with the same key, which is not answered yet"
    REPEATED = "a request that was made before, and may have been accepted"
    AUTHENTICATION = "the login, or TLS that it needs"
    RELAY = "relaying for us"
    IDENTITY = "a sender or domain that the account may not use"
    REPUTATION = "our address or domain is on a list, or has a bad name"
    SIZE = "the message is too large"
    CONTENT = "the content of the message"
    SENDER = "the sender's address"
    SYSTEM = "an error of the server"
    POLICY = "a rule that is not named"
    LATER = "it may succeed later"


# About the account: an operator has to act, and every other message would get the same.
ACCOUNT_TOPICS = frozenset(
    {
        Topic.SENDER_REJECTED,
        Topic.QUOTA,
        Topic.HELO,
        Topic.SUSPENDED,
        Topic.OPTIONS,
        Topic.AUTHENTICATION,
        Topic.RELAY,
        Topic.IDENTITY,
        Topic.REPUTATION,
        Topic.SENDER,
    }
)


def _compile(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{alternative})" for alternative in alternatives), re.IGNORECASE)


_BOX = r"\b(?:user|mailbox|recipient|recipient address|address|account|alias|addressee|person|inbox|e-?mail(?: account| address)?)\b"
_GONE = r"(?:disabled|deactivated|inactive|closed|terminated|discontinued|suspended|expired|no longer (?:exists?|available|active|valid|accepts))"
_MANY = r"(?:too many|concurrent|simultaneous|maximum|max(?:imum)? number of|limit(?:s|ed)?|exceed(?:ed|s)?)"
_LONG = r"(?:daily|monthly|weekly|(?:per|a|each|this) (?:day|month|week)|24[- ]?(?:h\b|hours?))"
_LIMIT = r"(?:limit|quota|exceed|allowance|maximum|too many)"

# In this order: the first one that matches counts.
_TOPICS: tuple[tuple[Topic, re.Pattern[str]], ...] = (
    # Servers say it at RCPT, and go on about an unknown user: the sender, not the recipient.
    (Topic.SENDER_REJECTED, _compile(r"sender (?:address )?(?:rejected|denied|refused|unknown|invalid)|sender verif")),
    (Topic.MAILBOX_BUSY, _compile(r"receiving e?-?mail (?:too quickly|at a rate)")),
    (Topic.GREYLISTED, _compile(r"gr[ea]y[- ]?list", r"deferred for (?:first|initial) contact")),
    (Topic.QUOTA, _compile(rf"{_LONG}[^.]{{0,60}}{_LIMIT}", rf"{_LIMIT}[^.]{{0,60}}{_LONG}", r"\bcredits?\b")),
    (
        Topic.MAILBOX_FULL,
        _compile(
            r"\bover ?quota\b",
            r"\b(?:mailbox|inbox|storage) (?:size|limit|exceeds|has exceeded)\b",
            rf"{_BOX}[^.]{{0,40}}\b(?:full|quota|exceeded storage)",
            rf"(?:quota|storage)[^.]{{0,40}}{_BOX}",
            r"exceeded storage allocation",
        ),
    ),
    (
        Topic.QUOTA,
        _compile(
            r"(?:sending|messaging|submission) (?:limits?|quota)",
            r"quota (?:is )?exceeded",
            r"exceeded (?:your|the|its) [\w ]{0,20}(?:limits|quota)",
        ),
    ),
    (
        Topic.HOURLY,
        _compile(
            rf"{_LIMIT}[^.]{{0,60}}\b(?:per|an|each|this) hour", rf"\bhourly\b[^.]{{0,60}}{_LIMIT}", r"emails per hour"
        ),
    ),
    (
        Topic.MANY_RECIPIENTS,
        _compile(
            r"(?:too )?many recipients",
            r"recipients? (?:limit|count)",
            r"(?:maximum|number of|limit of|exceed\w*)[^.]{0,20}recipients",
            r"recipient in a separate transaction",
            r"multiple destination domains per transaction",
            r"recipients belong to multiple regions",
        ),
    ),
    (
        Topic.RATE,
        _compile(
            r"\brate[- ]?limit",
            r"\brate\b[^.]{0,40}\bexceed",
            r"\bexceed\w*\b[^.]{0,60}\brates?\b",
            r"throttl",
            r"\btoo (?:many|much) (?:messages|e?-?mails?|requests|log-?ins?|authentication|attempts|errors)",
            r"\btoo (?:fast|quickly|frequently)",
            r"slow(?:ing)? down",
            r"unusual rate",
            r"unexpected volume",
            r"mail flood",
            r"relay limit exceeded",
            r"messages? per (?:second|minute|connection|session)",
        ),
    ),
    (
        Topic.CONNECTIONS,
        _compile(
            rf"{_MANY}[^.]{{0,40}}\b(?:connections?|sessions?|requests|thread)\b",
            rf"\b(?:connections?|sessions?|thread)\b[^.]{{0,40}}{_MANY}",
        ),
    ),
    (
        Topic.HELO,
        _compile(
            r"\b(?:helo|ehlo)\b[^.]{0,60}\b(?:reject\w*|invalid|need|not|denied|bad|fail\w*|mismatch|unknown|forged)",
            r"\b(?:reject\w*|invalid|bad|denied|forged|fix|wrong)\b[^.]{0,40}\b(?:helo|ehlo)\b",
            r"fully[- ]qualified (?:host|domain)",
        ),
    ),
    (
        Topic.BAD_ADDRESS,
        _compile(
            r"malformed address",
            r"(?:bad|invalid) (?:recipient|destination|mailbox)? ?address syntax",
            r"not a valid rfc ?-?\d{3,4} address",
            r"syntax error in (?:mailbox address|recipient)",
        ),
    ),
    (
        Topic.NO_MAILBOX,
        _compile(
            r"\b(?:user|mailbox|recipient|recipient address|addressee|alias|person|email account|account that you tried to reach)\b"
            r"[^.]{0,50}\b(?:unknown|not (?:found|exist|known|here)|does(?:n['’]?t| not) exist|invalid|unavailable)",
            r"\b(?:unknown|no such|non-?existent|invalid) (?:virtual |local )?(?:user|mailbox|recipient|addressee|alias|person|account)",
            r"\b(?:no|not a(?: valid| known)?) (?:mailbox|user|recipient)\b",
            r"unrouteable address",
            r"address (?:is )?unknown",
            r"doesn['’]?t have an? [\w.]{0,30} ?account",
            r"find the recipient domain",
        ),
    ),
    (Topic.MAILBOX_CLOSED, _compile(rf"(?:user|mailbox|recipient|tried to reach)\b[^.]{{0,40}}\b{_GONE}")),
    (
        Topic.SUSPENDED,
        _compile(
            r"suspend",
            r"sending (?:is )?paused",
            r"\b(?:account|domain|sending|service|user)\b[^.]{0,40}\b(?:disabled|deactivated|inactive|blocked|not active|expired)",
            r"payment|billing|subscription|invoice",
            r"free account|\btrial\b|test purposes|please upgrade|please activate|not activated",
        ),
    ),
    (
        Topic.AUTHENTICATION,
        _compile(
            r"authentica",
            r"smtp auth",
            r"\blog(?:ged)?[- ]?(?:in|on)\b",
            r"credential|password|\bapi key\b",
            r"starttls",
            r"\btls\b[^.]{0,20}\b(?:required|needed|must)",
        ),
    ),
    (
        Topic.RELAY,
        _compile(
            r"\brelay(?:ing|ed)?\b",
            r"rcpthosts",
            r"not (?:one of )?(?:our|my) (?:local )?(?:domains?|users?)",
            r"non-accepted domain",
        ),
    ),
    (
        Topic.IDENTITY,
        _compile(
            r"(?:not|un)[- ]?verified|verified (?:sender|domain|identity)|identit(?:y|ies)",
            r"not owned",
            r"send ?as\b|sendas|on behalf",
            r"\b(?:spf|dkim|dmarc)\b",
            r"not (?:allowed|authori[sz]ed|permitted) to (?:send|use)",
        ),
    ),
    (
        Topic.REPUTATION,
        _compile(
            r"(?:black|block|deny) ?-?list",
            r"\b(?:rbl|dnsbl|spamhaus|barracuda|spamcop|sorbs)\b",
            r"reputation",
            r"\blisted (?:at|in|by|on)\b",
            r"unsolicited",
            r"\b(?:your|client|sending|from)\b[^.]{0,20}\b(?:ip|host|server|network)\b",
            r"outbound ?spam|bad outbound",
            r"\babuse\b",
            r"reverse (?:dns|hostname)|\b(?:ptr|rdns)\b",
        ),
    ),
    (
        Topic.SIZE,
        _compile(
            r"\b(?:message|mail|e-?mail|content|header|size)\b[^.]{0,30}\btoo (?:large|big|long)",
            r"\btoo (?:large|big|long)\b[^.]{0,30}\b(?:message|mail|header)",
            r"\b(?:size|length)\b[^.]{0,40}\b(?:exceed|limit|maximum)",
            r"\b(?:exceed\w*|larger|maximum)\b[^.]{0,40}\bsize",
        ),
    ),
    (
        Topic.CONTENT,
        _compile(
            r"virus|malware|infected|phish",
            r"\battachments?\b|executable|file type|banned file",
            r"\bcontent\b[^.]{0,40}\b(?:reject\w*|block\w*|denied|not allowed|unacceptable|security)",
            r"\b(?:this|message|e-?mail|content)\b[^.]{0,40}\b(?:spam|junk)\b",
            r"\bspam (?:message|content)",
            r"\bheaders?\b[^.]{0,40}\b(?:invalid|malformed|missing|duplicate|multiple|illegal)",
            r"\b(?:invalid|malformed|missing|duplicate|multiple|illegal|unbalanced)\b[^.]{0,40}\bheaders?",
            r"rfc ?-?(?:8|28|53)22\b|\bmime\b|line (?:is )?too long|bare (?:lf|cr|newline)|message contains",
            r"\bloop|hop count|too many hops",
        ),
    ),
    (
        Topic.SENDER,
        _compile(r"\bsender\b|\bfrom address\b|mail from\b|envelope[- ]from|return[- ]path|\bfrom (?:header|domain)"),
    ),
    (
        Topic.SYSTEM,
        _compile(
            r"\b(?:system|internal|local) (?:error|problem|storage|resources?|trouble)",
            r"insufficient (?:system|disk|storage)|disk (?:is )?full",
            r"lookup (?:failure|failed)|database|configuration error|server error",
        ),
    ),
    (
        Topic.POLICY,
        _compile(
            r"polic(?:y|ies)|prohibit|denied|not (?:allowed|permitted|authori[sz]ed|accepted)|unauthori[sz]ed|permission|blocked|banned|whitelist"
        ),
    ),
    (
        Topic.LATER,
        _compile(
            r"\btemporar(?:ily|y (?:fail|error|problem|issue))", r"\b(?:try|retry|come back)\b[^.]{0,20}\blater\b"
        ),
    ),
)

# Not words of the sentence: addresses, links, and names and addresses of hosts.
_NAMES = re.compile(r"https?://\S+|<[^<>\s]*>|\S+@\S+|\[[^\]\s]*\]|\b[\w-]+(?:\.[\w-]+){2,}\b")
_WAIT = re.compile(
    r"(?:try|retry|wait|again|after|back|available)\b[^.]{0,30}?\b(\d{1,9}) ?(seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b",
    re.IGNORECASE,
)


def find_topic(text: str) -> Topic | None:
    """Return the topic of the words, None if they match none."""
    words = " ".join(_NAMES.sub(" ", text).split())
    return next((topic for topic, pattern in _TOPICS if pattern.search(words)), None)


_MONTH = re.compile(r"\bmonth(?:ly)?\b|\b30[- ]?days?\b", re.IGNORECASE)
_DAY = re.compile(r"\bdaily\b|\b(?:per|a|each|this|of the) day\b|\btoday\b|\b24[- ]?(?:h\b|hours?)", re.IGNORECASE)


def find_quota_period(text: str) -> QuotaPeriod:
    """Return the period of the quota that the words say is used up; the shorter one if they name both."""
    if _DAY.search(text.replace("_", " ")):
        return QuotaPeriod.DAY
    return QuotaPeriod.MONTH if _MONTH.search(text.replace("_", " ")) else QuotaPeriod.UNKNOWN


def find_stated_wait(text: str) -> float | None:
    """Return the seconds that the words ask to wait, as in "try again after 120 seconds"; None if they do not."""
    found = _WAIT.search(text)
    if found is None:
        return None
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2][0].lower()]
