"""A secret reaches no stored word, however the provider spells it."""

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from providers.transports import redaction

PASSWORDS = ["thunderbolt", "Th+un/d=r b0lt", "pä&<ss>\"w'ö\\rd", "SG.aB-3_x.9zYxWvUt", "four"]


def b64(octets):
    return base64.b64encode(octets).decode()


SPELLINGS = {
    "plain": lambda secret: secret,
    "upper case": lambda secret: secret.upper(),
    "base64": lambda secret: b64(secret.encode()),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: b64(secret.encode()).rstrip("="),
    "AUTH PLAIN": lambda secret: b64(f"\0zeus\0{secret}".encode()),
    "AUTH PLAIN, other offset": lambda secret: b64(f"\0jupiter\0{secret}".encode()),
    "AUTH PLAIN, third offset": lambda secret: b64(f"jupiter\0jupiter\0{secret}".encode()),
    "HTTP Basic": lambda secret: "Basic " + b64(f"api:{secret}".encode()),
    "base64 in a URL": lambda secret: quote(b64(f"\0zeus\0{secret}".encode()), safe=""),
    "base64 of more": lambda secret: b64(f"user=zeus&password={secret}&more=1".encode()),
    "Bearer": lambda secret: f"Bearer {secret}",
    "URL": lambda secret: quote(secret, safe=""),
    "URL in lower case": lambda secret: quote(secret, safe="").lower() if secret.islower() else quote(secret, safe=""),
    "URL, all percent": lambda secret: "".join(f"%{octet:02X}" for octet in secret.encode()),
    "URL, twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "form": quote_plus,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON, all escaped": lambda secret: "".join(f"\\u{ord(character):04x}" for character in secret),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)[1:-1])[1:-1],
    "JSON with slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "HTML": html.escape,
    "HTML, all escaped": lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    "HTML in hexadecimal": lambda secret: "".join(f"&#x{ord(character):X};" for character in secret),
    "HTML, twice": lambda secret: html.escape(html.escape(secret)),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "bytes": lambda secret: repr(secret.encode())[2:-1],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("secret", PASSWORDS)
def test_a_secret_is_found_in_any_spelling(secret, spelling):
    clean = redaction.build_cleaner([secret])
    written = spelling(secret)

    for text in (written, f"535 no {written} here", f'{{"key":"{written}"}}', f"x={written}&y=1"):
        cleaned = clean(text)

        assert "[secret]" in cleaned
        assert clean(written).removeprefix("Basic ").removeprefix("Bearer ") == "[secret]"
        assert secret.lower() not in cleaned.lower()


@pytest.mark.parametrize(
    "spelling", ["plain", "upper case", "base64 for URLs", "base64 without padding", "hexadecimal"]
)
@pytest.mark.parametrize("secret", ["thunderbolt", "SG.aB-3_x.9zYxWvUt"])
def test_an_id_with_a_secret_does_not_stay(secret, spelling):
    spelled = SPELLINGS[spelling](secret).rstrip("=")

    for text in (spelled, f"<id-{spelled}@olympus>", f"0.{spelled}"):
        assert redaction.build_cleaner([secret])(text) != text

    assert redaction.build_cleaner([secret])("<01a2293e-45b6@olympus>") == "<01a2293e-45b6@olympus>"


def test_words_that_are_no_secrets_stay():
    clean = redaction.build_cleaner(["thunderbolt"])

    for text in (
        "5.7.8 Username and Password not accepted",
        "The bearer token is invalid. Use basic authentication.",
        "thunder and bolt, eA== and YWJjZA==",
        "queued as 4Xyz12",
    ):
        assert clean(text) == text


def test_a_bearer_token_that_is_not_ours_is_a_secret_too():
    assert redaction.build_cleaner([])("got Authorization: Bearer eyJhbGciOi.x3.y") == "got Authorization: [secret]"


def test_a_reason_is_cut_and_cleaned():
    clean = redaction.build_cleaner(["thunderbolt", "abc", "thunder"])

    assert clean("a\x00b\x1b[31mc\u202ed\r\ne\ud800f\u2028g") == "a b [31mc d e f g"
    assert clean("key thunderbolt, half of it: thunder") == "key [secret], half of it: [secret]"
    assert (
        clean("abc is too short to be distinguished from a word") == "abc is too short to be distinguished from a word"
    )
    assert len(clean("ü" * 5000).encode()) <= redaction.MAX_REASON


def test_the_beginning_of_a_secret_where_an_answer_was_cut_off_does_not_stay():
    clean = redaction.build_cleaner(["thunderbolt"])

    assert clean("your key is thunderbo") == "your key is [secret]"
    assert clean("x" * 20_000 + "thunderbolt").count("thunder") == 0


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "A" * 100_000, "%" * 100_000, "\\" * 100_000, "&amp;" * 20_000, "bearer " * 20_000]
)
def test_a_hostile_answer_costs_little(text):
    clean = redaction.build_cleaner(["xAxA" * 20, "&%\\" * 20])
    before = time.process_time()

    clean(text)

    assert time.process_time() - before < 1


def test_without_secrets_a_reason_stays_as_it_is():
    assert redaction.build_cleaner([])("all well") == "all well"
