"""Reads what a page server serves, as a browser would, but with headers of one's own."""

import json
import socket
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from itertools import islice
from threading import Thread
from urllib.parse import urlsplit


@contextmanager
def asked(address, path="/", *, token=None, host=None, method="GET", headers=None):
    """The response to a request; by default with the address's own token and host."""
    place = urlsplit(address)
    query = place.query if token is None else f"token={token}"
    connection = HTTPConnection(place.hostname, place.port, timeout=60)
    connection.putrequest(method, f"{path}?{query}", skip_host=True)
    connection.putheader("Host", host or place.netloc)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def events(response):
    """The events of a stream: number, kind, data."""
    event = {}
    while line := response.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name in ("id", "event", "data"):
            event[name] = value
        elif event:
            yield int(event["id"]), event["event"], json.loads(event["data"])
            event = {}


def first_events(address, count, **options):
    with asked(address, "/stream", **options) as response:
        return list(islice(events(response), count))


def all_events(address):
    """Until "end", which is the last."""
    found = []
    with asked(address, "/stream") as response:
        for event in events(response):
            found.append(event)
            if event[1] == "end":
                break
    return found


class Relay:
    """A wire to a server, which can be cut."""

    def __init__(self, port):
        self._to, self._ends, self.whole = port, [], True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def cut(self):
        self.whole = False
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.cut()
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self.whole:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one, other):
    with one, other, suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
