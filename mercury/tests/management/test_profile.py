import pstats

from mercury.management.commands.profile import Profiled


def hello(environ, start_response):
    start_response("200 OK", [])
    yield from _words()


def _words():
    yield b"Hello, "
    yield b"Zeus"


def test_a_request_is_answered_and_measured(tmp_path, capsys):
    application = Profiled(hello, length=5, folder=tmp_path)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/v1.0/"}

    body = b"".join(application(environ, lambda status, headers, error=None: lambda data: data))

    assert body == b"Hello, Zeus"
    assert "GET/api/v1.0/" in capsys.readouterr().err
    [kept] = tmp_path.glob("*.prof")
    assert any(name == "_words" for _, _, name in pstats.Stats(str(kept)).stats)
