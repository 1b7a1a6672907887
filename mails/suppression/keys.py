"""The form in which the list compares addresses: small letters throughout, since no mail server tells `Hera@` from `hera@`.

RFC 5321 §2.4 lets a server do so; whoever complained as `Hera@` must not get email as `hera@`.
"""

import re

from mails.message import addresses
from mails.message.addresses import InvalidAddress

ANY = "*"
# An address that normalization only turns into small letters. The validator takes 40 µs, and a list has a million of them.
# Its groups do not repeat possessively: before Python 3.11.5 `(?:\.x++)*+` keeps the period of a repetition that fails.
_PLAIN = re.compile(
    r"(?=.{1,254}\Z)(?=.{1,64}@)[a-z0-9!#$%&'*+/=?^_`{|}~-]++(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]++)*"
    r"@(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
    re.ASCII | re.IGNORECASE,
)


def fold(address: str) -> str:
    """Return a normalized address, as intake stores it, in the form of the list."""
    return address.lower()


def normalize(text: str) -> str:
    """Return the address in the form of the list. Raises InvalidAddress, also for `*` and for a whole domain."""
    text = text.strip()
    if text.startswith(f"{ANY}@"):
        raise InvalidAddress("'*' stands for no other letters here; the list has single addresses only.")
    if _PLAIN.fullmatch(text):
        return text.lower()
    if text == ANY:
        raise InvalidAddress("'*' would suppress everybody. Name one address; to stop all email, pause sending.")
    if text.startswith("@"):
        raise InvalidAddress("It is a whole domain; the list has single addresses only.")
    return fold(addresses.normalize(text))


def normalize_scope(text: str) -> str:
    """Return the sender domain in its normal form; empty for all senders. Raises InvalidAddress."""
    text = text.strip().removeprefix("@")
    if not text:
        return ""
    if text == ANY:
        raise InvalidAddress("'*' is no domain. Leave the scope empty for all senders.")
    if "@" in text:
        raise InvalidAddress("It is an address. Write the domain of the senders, such as olimpus.com.")
    return addresses.extract_domain(addresses.normalize(f"a@{text}"))


def get_sender_domain(sender: str) -> str:
    """Return the domain of a sender, with or without a display name, as scopes name it."""
    return addresses.extract_domain(addresses.extract_address(sender)).lower()
