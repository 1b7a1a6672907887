import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.files.names import MAX_BYTES, NAMELESS, clean_filename
from mercury.lib.mail import printable


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("crown.png", "crown.png"),
        ("Bericht für Zeus 2026.pdf", "Bericht für Zeus 2026.pdf"),
        ("報告.docx", "報告.docx"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\zeus\crown.png", "crown.png"),
        ("folder/", "folder"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\r\nBcc: hades@olimpus.com", "aBcc_ hades@olimpus.com"),
        ("a\0b.txt", "ab.txt"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("console.txt", "console.txt"),
        (".htaccess", "htaccess"),
        ("crown. . .", "crown"),
        ('<script>"x"|?*', "_script__x____"),
        ("", NAMELESS),
        ("..", NAMELESS),
        ("/", NAMELESS),
        ("\ud800.png", "png"),
    ],
)
def test_a_name_is_one_step_of_a_path_that_can_be_shown(given, cleaned):
    assert clean_filename(given) == cleaned


def test_a_long_name_keeps_its_extension():
    cleaned = clean_filename("ж" * 300 + ".docx")

    assert cleaned.endswith("ж.docx")
    assert len(cleaned.encode()) <= MAX_BYTES


def test_a_long_extension_is_none():
    assert len(clean_filename("a." + "x" * 300).encode()) == MAX_BYTES


@given(st.text())
def test_any_name_becomes_a_good_one(name):
    cleaned = clean_filename(name)

    assert cleaned
    assert len(cleaned.encode()) <= MAX_BYTES
    assert not printable.find_unprintable(cleaned)
    assert not set(cleaned) & set('/\\<>:"|?*')
    assert cleaned.strip(". ") == cleaned
    assert clean_filename(cleaned) == cleaned
