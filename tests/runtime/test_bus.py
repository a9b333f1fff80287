"""The bus alone: what is said arrives, however much is said at once."""

import threading

import pytest

from composite_flow.errors import InputError
from composite_flow.runtime.bus import Bus, bus_of
from composite_flow.runtime.launcher import free_port

pytestmark = pytest.mark.slow
MESSAGES, SECONDS = 20_000, 120.0


def test_nothing_of_a_burst_is_dropped():
    """Twenty megabytes, far more than the connection holds at once."""
    endpoint, heard, all_heard = f"tcp/127.0.0.1:{free_port()}", [], threading.Event()

    def hear(topic, data):
        heard.append(int(topic.split("/")[1]))
        if len(heard) == MESSAGES:
            all_heard.set()

    with Bus("burst", [endpoint], lease=60.0, carries=True), Bus("burst", through=[endpoint], lease=60.0) as listener:
        listener.listen("number/*", hear)
        with Bus("burst", through=[endpoint], lease=60.0) as speaker:
            for number in range(MESSAGES):
                speaker.publish(f"number/{number}", bytes(1000))
            all_heard.wait(SECONDS)
    assert heard == list(range(MESSAGES))


@pytest.mark.parametrize("lease", [0.0, 0.05, -1.0, float("inf"), float("nan")])
def test_a_lease_that_cannot_be_kept_is_refused(lease):
    with pytest.raises(InputError, match="lease has 0.1 seconds at least"):
        bus_of("team", 4, lease=lease)
