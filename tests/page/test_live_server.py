"""A page is served with its stream to who knows the address, from this machine, and nothing else is."""

import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from page.live_client import asked, events, first_events

from composite_flow import cli
from composite_flow.cli.live import PageOptions
from composite_flow.errors import InputError
from composite_flow.page.live.event_log import EventLog
from composite_flow.page.live.server import PageServer

PAGE = "<!doctype html><title>a page</title>"


@pytest.fixture
def server():
    with PageServer() as server:
        server.open(PAGE)
        yield server


def status(server, *arguments, **options):
    with asked(server.address, *arguments, **options) as response:
        return response.status, response.read().decode()


def test_the_page_is_served_to_who_knows_its_address(server):
    assert status(server) == (200, PAGE)


@pytest.mark.parametrize("path", ["/", "/stream", "/other"])
@pytest.mark.parametrize("token", ["", "wrong", "%FF", "%C3%A9"])
def test_without_the_token_nothing_is_served(server, path, token):
    found, text = status(server, path, token=token)
    assert found == 403 and "title" not in text


def test_tokens_are_long_and_never_the_same():
    tokens = set()
    for _ in range(3):
        with PageServer() as one:
            tokens.add(one.address.partition("token=")[2])
    assert len(tokens) == 3 and min(map(len, tokens)) >= 32


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:80", "127.0.0.1.example.org", "10.1.2.3", "[", "localhost@x.org"]
)
def test_requests_that_name_another_host_are_refused(server, host):
    assert status(server, host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "LOCALHOST:8000", "[::1]:9"])
def test_this_machine_may_be_named_in_any_way_and_through_a_tunnel(server, host):
    assert status(server, host=host)[0] == 200


@pytest.mark.parametrize("path", ["/page.js", "/data", "/../../etc/passwd", "/stream/", "/index.html", "/favicon.ico"])
def test_nothing_but_the_page_and_its_stream_is_served(server, path):
    assert status(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_can_be_sent(server, method):
    assert status(server, method=method)[0] == 501


def test_nobody_may_keep_it_or_frame_it_or_learn_its_address(server):
    with asked(server.address) as response:
        headers = dict(response.getheaders())
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    assert (
        headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        and headers["X-Content-Type-Options"] == "nosniff"
    )


def test_it_listens_on_the_loopback_interface_alone(server):
    place = urlsplit(server.address)
    assert place.hostname == "127.0.0.1" and server.is_local
    for address in {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if not address.startswith("127."):
            with pytest.raises(OSError), socket.create_connection((address, place.port), 5):
                pass
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", place.port), 5):
        pass


def test_elsewhere_only_where_that_is_asked_for(capsys):
    with PageOptions(page=True, host="0.0.0.0").served() as server:
        server.open(PAGE)
        assert not server.is_local
        told = capsys.readouterr().err
        assert "from other machines" in told and server.address in told
        local = server.address.replace(urlsplit(server.address).hostname, "127.0.0.1")
        for host, expected in {"10.1.2.3": 200, socket.gethostname(): 200, "example.org": 403}.items():
            with asked(local, host=host) as response:
                assert response.status == expected
    with PageOptions(page=True).served():
        assert "from other machines" not in capsys.readouterr().err


def test_what_cannot_be_served_is_told_in_a_sentence(server, capsys, tmp_path):
    port = urlsplit(server.address).port
    with pytest.raises(InputError, match=f"port {port}: Address already in use; name another"):
        PageServer(port=port)
    for options in ({"host": "no.such.host.invalid"}, {"port": 70_000}, {"host": "192.0.2.1"}):
        with pytest.raises(InputError, match="cannot be served at"):
            PageServer(**options)
    with pytest.raises(InputError, match="add --page"), PageOptions(port=1).served():
        pass
    arguments = ["train-policy", "sensor:2x2,targets=1", "--out", str(tmp_path / "run"), "--memory", "none"]
    assert cli.main([*arguments, "--page", "--port", str(port)]) == 1
    assert capsys.readouterr().err.count("Address already in use") == 1
    assert not (tmp_path / "run").exists()


def test_who_comes_late_gets_all_and_who_comes_again_the_rest(server):
    for number in range(3):
        server.log.tell("step", {"row": number})
    server.log.replace("status", "early")
    server.log.replace("status", "late")
    everything = [(1, "step", {"row": 0}), (2, "step", {"row": 1}), (3, "step", {"row": 2}), (5, "status", "late")]
    assert first_events(server.address, 4) == everything
    assert first_events(server.address, 2, headers={"Last-Event-ID": "2"}) == everything[2:]
    assert first_events(server.address, 4, headers={"Last-Event-ID": "x"}) == everything


def test_what_is_told_comes_at_once_and_the_stream_ends_with_the_server():
    with PageServer() as server:
        server.open(PAGE)
        with asked(server.address, "/stream") as response:
            told = events(response)
            for number in range(5):
                begun = time.monotonic()
                server.log.tell("step", {"value": float("nan"), "number": number})
                assert next(told)[2] == {"value": None, "number": number}
                assert time.monotonic() - begun < 5.0
            server.log.tell("end", {})
            threading.Thread(target=server.log.close).start()
            assert [kind for _, kind, _ in told] == ["end"]


def test_a_log_says_where_nothing_comes_and_ends_when_it_is_closed():
    log = EventLog()
    following = log.follow(0, 0.01)
    assert next(following) is None
    log.tell("step", 1)
    assert next(following).text == "1"
    begun = time.monotonic()
    threading.Timer(0.1, log.close).start()
    assert [one for one in following if one is not None] == []
    assert time.monotonic() - begun < 2.0
