"""Addresses of email: split, checked and brought into the one form that they are stored and sent with.

A part before the @ may be in quotes (RFC 5321 §4.1.2), so that it holds blanks, commas and even an @. A domain is one of
the public DNS, or one that `MERCURY_PRIVATE_DOMAINS` names, alone or with names before it.
"""

import re
from functools import lru_cache

from django.conf import settings
from email_validator import EmailNotValidError, validate_email

from mercury.lib.mail import name_address, printable

MAX_ADDRESS = 320  # characters: 64 before the @ and 255 after it, RFC 5321 §4.5.3.1
ANY_DOMAIN = "*"
_PUBLIC = ".example"
_SHOWN = 200  # characters of the validator's words
# Quoted text, or text without what separates: the quotes count only where an address or a display name begins with them.
# What is within them is never given back (`*+`): to remember ten megabytes step by step took a gigabyte.
_ITEM = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*+"[^\s,]*|[^\s,]+))[\s,]*')


class AddressInvalid(ValueError):
    """It is no address, or none that email can be sent to; the text says why and never repeats it."""


def split(text: str) -> list[str]:
    """Return the addresses of a text in which blanks and commas separate them, outside of quotes."""
    return _ITEM.findall(text.strip(" \t,"))


def extract_address(sender: str) -> str:
    """Return the address of a sender, without its display name: `zeus@olimpus.com` of `Zeus <zeus@olimpus.com>`."""
    found = name_address.split_name(sender)
    return found[1] if found else sender


def domain_of(address: str) -> str:
    """Return what stands behind the last @, which no domain has in itself."""
    return address.rpartition("@")[2]


def normal(text: str) -> str:
    """Return the address in its normal form: the domain in lower case and for the wire, quotes only where they are needed.

    Raises AddressInvalid. Letters beyond ASCII before the @ would need SMTPUTF8 (RFC 6531) all the way to the recipient;
    they are refused.
    """
    if len(text) > MAX_ADDRESS:  # before the validator, whose time and cache grow with the text
        raise AddressInvalid(f"It is longer than {MAX_ADDRESS} characters.")
    checked, why = _checked(text, tuple(settings.MERCURY_PRIVATE_DOMAINS))
    if why:
        raise AddressInvalid(why)
    return checked


def wire_domain(domain: str) -> str:
    """Return the domain in the form that addresses are stored with; in lower case if it is no domain."""
    try:
        return domain_of(normal(f"a@{domain}"))
    except AddressInvalid:
        return domain.lower()


def normal_entry(entry: str) -> str:
    """Return an entry of allowed senders (an address, `@domain` or `*`) with its domain in that form, to be compared."""
    local, at, domain = entry.strip().rpartition("@")
    return f"{local}{at}{wire_domain(domain)}" if at else entry.strip()


def is_domain(domain: str) -> bool:
    """Return True for a domain that an address may have."""
    return is_address(f"a@{domain}")


def is_address(text: str) -> bool:
    """Return True for an address that email may be sent as or to."""
    try:
        normal(text)
    except AddressInvalid:
        return False
    return True


@lru_cache(maxsize=4096)  # 40 µs an address, and most mails of an application share a sender
def _checked(text: str, private: tuple[str, ...]) -> tuple[str, str]:
    """Return the normal form and nothing, or nothing and the fault.

    The domain is in its IDNA 2008 form, so that no library in between reads it as another domain.
    """
    is_private = _is_private(domain_of(text), private)
    if "@" in text and "." not in domain_of(text) and not is_private:
        return "", "Write the domain in full, for example zeus@olimpus.com, or name it in MERCURY_PRIVATE_DOMAINS."
    below = _PUBLIC if is_private else ""  # the validator's list of names that are not public cannot be narrowed
    try:
        found = validate_email(
            text + below, check_deliverability=False, allow_smtputf8=False, allow_quoted_local=True, strict=True
        )
    except EmailNotValidError as error:
        return "", printable.replace_unprintable(str(error)[:_SHOWN])
    return f"{found.local_part}@{found.ascii_domain.lower().removesuffix(below)}", ""


def _is_private(domain: str, private: tuple[str, ...]) -> bool:
    """Return True for one of these domains, and for what lies below it."""
    name = domain.lower().removesuffix(".")
    return any(entry == ANY_DOMAIN or name == entry or name.endswith(f".{entry}") for entry in private)
