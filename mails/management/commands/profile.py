"""`manage.py profile`: the prototype's command. Serves one request at a time under a profiler."""

import cProfile
import pstats
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from time import time_ns
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.core.management.base import CommandError, CommandParser
from django.core.servers.basehttp import get_internal_wsgi_application

from mails.worker import resident_dispatcher
from mercury.lib import commands
from mercury.lib.commands import Exit


class Command(commands.MercuryCommand):
    """Serve under a profiler."""

    serves = True
    help = "Serve on 127.0.0.1 under a profiler, one request at a time, and print what each spent its time on."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--length",
            type=commands.whole(1, 10_000),
            default=25,
            metavar="N",
            help="Functions printed for each request (default: 25).",
        )
        parser.add_argument(
            "--dir", type=Path, metavar="D", help="Also keep each profile in this folder, for pstats or snakeviz."
        )
        parser.add_argument("--port", type=commands.port, default=8000, help="Default: 8000.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Serve until Ctrl-C."""
        if options["dir"]:
            _make_folder(options["dir"])
        with _server(options["port"]) as server:  # before the application, which begins to send where it is embedded
            application = get_internal_wsgi_application()
            server.set_app(Profiled(application, length=options["length"], folder=options["dir"]))
            out.say(f"Serving under a profiler: http://127.0.0.1:{options['port']}/  Ctrl-C stops.")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                out.say("Stopped.")
            finally:
                resident_dispatcher.stop()
        return None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--dir {folder}: {error.strerror}.", returncode=Exit.WRONG_USE) from error


def _server(port: int) -> WSGIServer:
    try:
        return WSGIServer(("127.0.0.1", port), WSGIRequestHandler)
    except OSError as error:
        raise commands.cannot_listen(port, error) from error


class Profiled:
    """A WSGI application that measures another one."""

    def __init__(self, application: WSGIApplication, *, length: int, folder: Path | None) -> None:
        self._application = application
        self._length = length
        self._folder = folder

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request, and print what it spent its time on."""
        profile = cProfile.Profile()
        body = profile.runcall(_whole_answer, self._application, environ, start_response)
        name = f"{environ['REQUEST_METHOD']}{environ['PATH_INFO']}"
        sys.stderr.write(f"\n{name}\n")
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(self._length)
        if self._folder:
            profile.dump_stats(self._folder / f"{time_ns()}-{name.strip('/').replace('/', '.')}.prof")
        return [body]


def _whole_answer(application: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> bytes:
    """The body in one piece: a page that is made while it is read must be measured too."""
    answer = application(environ, start_response)
    try:
        return b"".join(answer)
    finally:
        close: Callable[[], None] | None = getattr(answer, "close", None)
        if close is not None:
            close()
