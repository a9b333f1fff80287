"""Serves one page and its stream of events to whoever knows the address, which holds a random token.

The standard library's server is enough: there are two things to get and nothing to send, a few people look, and whoever
installs the package needs nothing more. It reads no file and follows no path of a request. It listens on the loopback
interface alone unless another host is asked for; requests without the token are refused, and so are those that name
another host, as a foreign site does whose name was made to lead here (DNS rebinding).
"""

import contextlib
import hmac
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from composite_flow.errors import InputError
from composite_flow.page.live.event_log import EventLog

LOOPBACK = "127.0.0.1"
_PATIENCE = 15.0  # seconds without an event, after which a word shows that the connection stands
_STALLED = 30.0  # seconds after which whoever asks or reads no further is given up
_POLICY = "frame-ancestors 'none'"  # beside the page's own


class PageServer:
    """A context manager. It listens at once, so that a taken port is told early, and answers once there is a page.

    Attributes:
        address: of the page, with its token.
        log: what the page is told.
        is_local: whether only this machine reaches it.
    """

    def __init__(self, host: str | None = None, port: int = 0):
        """Listens; nothing is answered yet.

        Args:
            host: an address or a name of this machine; only this machine itself reaches the page where not given.
            port: a free one where 0.

        Raises:
            InputError: the port is taken or none, or the host is not this machine's.
        """
        self.log = EventLog()
        self._token = secrets.token_urlsafe(24)
        self._server = _listening(host or LOOPBACK, port)
        bound = ipaddress.ip_address(str(self._server.server_address[0]))
        self.is_local = bound.is_loopback
        named = socket.gethostname() if bound.is_unspecified else host or LOOPBACK
        shown = f"[{named}]" if ":" in named else named
        self.address = f"http://{shown}:{self._server.server_address[1]}/?token={self._token}"
        self._names = {named, "localhost", LOOPBACK, "::1"} if self.is_local else {named, str(bound)}
        self._any_address = bound.is_unspecified
        self._thread: threading.Thread | None = None

    def open(self, page: str) -> None:
        """Answer from now on, with this page."""
        self._server.answers = _Answers(page.encode(), self.log, self._allows)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "PageServer":
        return self

    def __exit__(self, *error) -> None:
        """Tell the rest, and hang up."""
        self.log.close()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _allows(self, host: str, query: str) -> bool:
        """Whether a request names this host and the token."""
        token = parse_qs(query).get("token", [""])[0]
        return self._knows(host) and hmac.compare_digest(token.encode(), self._token.encode())

    def _knows(self, host: str) -> bool:
        """Whatever the port, which a tunnel may change."""
        with contextlib.suppress(ValueError):
            name = urlsplit(f"//{host}").hostname or ""
            return name in {known.lower() for known in self._names} or (self._any_address and _is_address(name))
        return False


class _Answers(NamedTuple):
    page: bytes
    log: EventLog
    allows: Callable[[str, str], bool]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    answers: _Answers

    def server_bind(self) -> None:
        """Without asking a name server for a name that nobody needs."""
        TCPServer.server_bind(self)

    def handle_error(self, request, client_address) -> None:
        """Whoever hangs up in the middle is no error."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # type: ignore[reportIncompatibleVariableOverride]  (it is made for this one alone)
    protocol_version = "HTTP/1.1"
    timeout = _STALLED
    server_version, sys_version = "composite-flow", ""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if not self.server.answers.allows(self.headers.get("Host", ""), asked.query):
            return self._refuse(403, "The address is not whole: open it as it was told, with its token.")
        if asked.path == "/":
            return self._send("text/html; charset=utf-8", self.server.answers.page)
        return self._stream() if asked.path == "/stream" else self._refuse(404, "There is nothing here but the page.")

    def _stream(self) -> None:
        self._begin(200, "text/event-stream")
        last = self.headers.get("Last-Event-ID", "")
        for event in self.server.answers.log.follow(int(last) if last.isdecimal() else 0, _PATIENCE):
            told = ":\n\n" if event is None else f"id: {event.number}\nevent: {event.kind}\ndata: {event.text}\n\n"
            self.wfile.write(told.encode())
            self.wfile.flush()

    def _refuse(self, status: int, sentence: str) -> None:
        self._send("text/plain; charset=utf-8", sentence.encode(), status)

    def _send(self, kind: str, body: bytes, status: int = 200) -> None:
        self._begin(status, kind, len(body))
        self.wfile.write(body)

    def _begin(self, status: int, kind: str, length: int | None = None) -> None:
        headers = {"Content-Type": kind, "Cache-Control": "no-store", "Connection": "close"}
        headers |= {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        headers |= {"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"}
        if length is not None:
            headers["Content-Length"] = str(length)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args) -> None:
        """Nobody needs it."""


def _listening(host: str, port: int) -> _Server:
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        of_family: type[_Server] = type("_Server", (_Server,), {"address_family": family})
        return of_family((str(place[0]), port), _Request)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The page cannot be served at {host}, port {port}: {reason}; name another.") from None


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False
