"""`manage.py profile`: serve one request at a time under a profiler."""

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
from mercury.lib.commands import ExitCode


class Command(commands.MercuryCommand):
    """Serve under a profiler."""

    serves = True
    help = "Serve on 127.0.0.1 under a profiler, one request at a time, and print a profile of each."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--length",
            type=commands.parse_integer_option(1, 10_000),
            default=25,
            metavar="N",
            help="Number of functions printed per request (default: 25).",
        )
        parser.add_argument(
            "--dir", type=Path, metavar="D", help="Also save each profile in this folder, for pstats or snakeviz."
        )
        parser.add_argument(
            "--port", type=commands.parse_port_option, default=8000, metavar="N", help="Port (default: 8000)."
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Serve until Ctrl-C."""
        if options["dir"]:
            _make_folder(options["dir"])
        with _open_server(options["port"]) as server:  # before the application, which starts to send when embedded
            application = get_internal_wsgi_application()
            server.set_app(Profiled(application, length=options["length"], folder=options["dir"]))
            out.say(f"Serving under a profiler: http://127.0.0.1:{options['port']}/  Press Ctrl-C to stop.")
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
        raise CommandError(f"--dir {folder}: {error.strerror}.", returncode=ExitCode.USAGE_ERROR) from error


def _open_server(port: int) -> WSGIServer:
    try:
        return WSGIServer(("127.0.0.1", port), WSGIRequestHandler)
    except OSError as error:
        raise commands.build_port_error(port, error) from error


class Profiled:
    """A WSGI application that profiles another one."""

    def __init__(self, application: WSGIApplication, *, length: int, folder: Path | None) -> None:
        self._application = application
        self._length = length
        self._folder = folder

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request, and print its profile."""
        profile = cProfile.Profile()
        body = profile.runcall(_read_response, self._application, environ, start_response)
        name = f"{environ['REQUEST_METHOD']}{environ['PATH_INFO']}"
        sys.stderr.write(f"\n{name}\n")
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(self._length)
        if self._folder:
            profile.dump_stats(self._folder / f"{time_ns()}-{name.strip('/').replace('/', '.')}.prof")
        return [body]


def _read_response(application: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> bytes:
    """Return the whole body: a streamed response must be profiled too."""
    response = application(environ, start_response)
    try:
        return b"".join(response)
    finally:
        close: Callable[[], None] | None = getattr(response, "close", None)
        if close is not None:
            close()
