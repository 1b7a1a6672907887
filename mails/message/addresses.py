"""Email addresses: split, check and normalize them to the form in which they are stored and sent.

The part before the @ may be quoted (RFC 5321 §4.1.2) and then contain spaces, commas and even an @. A domain is public, or
one that `MERCURY_PRIVATE_DOMAINS` names, or a subdomain of such a one.
"""

import re
from functools import lru_cache
from itertools import groupby

from django.conf import settings
from email_validator import EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

from mercury.lib.mail import name_address, printable

MAX_ADDRESS = 320  # characters: 64 before the @ and 255 after it, RFC 5321 §4.5.3.1
ANY_DOMAIN = "*"
_PUBLIC = ".example"
_SHOWN = 200  # characters of the validator's message
# Quoted text, or text without separators: quotes count only at the beginning of an address or a display name.
# `*+` never backtracks into the quotes: to remember ten megabytes step by step took a gigabyte.
_ITEM = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*+"[^\s,]*|[^\s,]+))[\s,]*')
# Quoted text (to the end, if nothing ends it), text without quotes and commas, or a comma. Never backtracks either.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z|\\)|[^",]+|,')
# Addresses whose part before the @ needs no look: it is 1 to 64 letters and marks (RFC 5321 §4.5.3.1, RFC 5322 §3.2.3), and
# stays as it is. Names that are the same in either case (RFC 2142) are not among them. Its group does not repeat possessively:
# before Python 3.11.5 `(?:\.x++)*+` keeps the period of a repetition that fails, so `zeus.@olimpus.com` was taken.
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_PLAIN = re.compile(rf"(?=[^@]{{1,64}}@)({_ATEXT}++(?:\.{_ATEXT}++)*)@([A-Za-z0-9.-]++)")
_MAX_PLAIN = 240  # characters of such an address: with _PUBLIC it is below the 254 of RFC 5321


class InvalidAddress(ValueError):
    """The address is invalid, or no email can be sent to it; the message says why and never repeats the address."""


def split_addresses(text: str) -> list[str]:
    """Return the addresses in a text, separated by spaces or commas outside of quotes."""
    return _ITEM.findall(text.strip(" \t,"))


def split_mailboxes(text: str) -> list[str]:
    """Return the addresses in a text; where one has a display name (`Zeus <zeus@olimpus.com>`), commas alone separate them."""
    if "<" not in text:
        return split_addresses(text)
    tokens = (found[0] for found in _TOKEN.finditer(text))
    parts = ("".join(group).strip() for is_comma, group in groupby(tokens, ",".__eq__) if not is_comma)
    return [part for part in parts if part]


def extract_address(sender: str) -> str:
    """Return the address of a sender, without its display name: `zeus@olimpus.com` of `Zeus <zeus@olimpus.com>`."""
    found = name_address.split_name(sender)
    return found[1] if found else sender


def extract_domain(address: str) -> str:
    """Return the part behind the last @; a domain contains none."""
    return address.rpartition("@")[2]


def normalize(text: str) -> str:
    """Return the address in its normal form: the domain in lower case and ASCII, quotes only where they are needed.

    Raises InvalidAddress. Letters beyond ASCII before the @ need an account that can carry them (SMTPUTF8, RFC 6531).
    """
    if len(text) > MAX_ADDRESS:  # before the validator, whose time and cache grow with the text
        raise InvalidAddress(f"It is longer than {MAX_ADDRESS} characters.")
    if plain := normalize_plain(text):
        return plain
    checked, why = _check_and_normalize(text, tuple(settings.MERCURY_PRIVATE_DOMAINS))
    if why:
        raise InvalidAddress(why)
    return checked


def normalize_plain(text: str) -> str:
    """Return the normal form of a text that is one valid address, of which only the domain needs a look; else nothing.

    A batch has a thousand recipients, each once, at few domains: the whole check of each takes longer than all the rest.
    """
    if len(text) > _MAX_PLAIN or not (found := _PLAIN.fullmatch(text)):
        return ""
    local, domain = found.groups()
    if local.lower() in CASE_INSENSITIVE_MAILBOX_NAMES:
        return ""
    normalized = _normalize_plain_domain(domain, tuple(settings.MERCURY_PRIVATE_DOMAINS))
    return f"{local}@{normalized}" if normalized else ""


def normalize_domain(domain: str) -> str:
    """Return the domain as stored in addresses; an invalid one in lower case."""
    try:
        return extract_domain(normalize(f"a@{domain}"))
    except InvalidAddress:
        return domain.lower()


def normalize_entry(entry: str) -> str:
    """Return an entry of allowed senders (an address, `@domain` or `*`) with its domain normalized, for comparison."""
    local, at, domain = entry.strip().rpartition("@")
    return f"{local}{at}{normalize_domain(domain)}" if at else entry.strip()


def is_domain(domain: str) -> bool:
    """Return True if an address may have this domain."""
    return is_address(f"a@{domain}")


def is_address(text: str) -> bool:
    """Return True if email may be sent from or to this address."""
    try:
        normalize(text)
    except InvalidAddress:
        return False
    return True


@lru_cache(maxsize=4096)
def _normalize_plain_domain(domain: str, private: tuple[str, ...]) -> str:
    """Return an ASCII domain in its normal form; empty if it is not valid, or in Punycode, whose length has other limits."""
    if "xn--" in domain.lower():
        return ""
    return extract_domain(_check_and_normalize(f"a@{domain}", private)[0])


@lru_cache(maxsize=4096)  # 40 µs an address, and most mails of an application share a sender
def _check_and_normalize(text: str, private: tuple[str, ...]) -> tuple[str, str]:
    """Return the normalized address and no error, or no address and the error.

    The domain is in its IDNA 2008 form, so that no library in between reads it as another domain.
    """
    is_private = _is_private(extract_domain(text), private)
    if "@" in text and "." not in extract_domain(text) and not is_private:
        return "", "Write the domain in full, for example zeus@olimpus.com, or name it in MERCURY_PRIVATE_DOMAINS."
    below = _PUBLIC if is_private else ""  # the validator's list of names that are not public cannot be narrowed
    try:
        found = validate_email(
            text + below, check_deliverability=False, allow_smtputf8=True, allow_quoted_local=True, strict=True
        )
    except EmailNotValidError as error:
        return "", printable.replace_unprintable(str(error)[:_SHOWN])
    return f"{found.local_part}@{found.ascii_domain.lower().removesuffix(below)}", ""


def _is_private(domain: str, private: tuple[str, ...]) -> bool:
    """Return True if the domain is one of these, or a subdomain of one."""
    name = domain.lower().removesuffix(".")
    return any(entry == ANY_DOMAIN or name == entry or name.endswith(f".{entry}") for entry in private)
