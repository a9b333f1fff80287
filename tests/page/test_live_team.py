"""A page of a team of processes, while they infer: what is streamed and drawn is what they told."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import cache
from urllib.parse import urlsplit

import jax
import numpy as np
import pytest
from page.live_client import Relay, all_events, asked, first_events
from runtime.fused_team import AGENTS, SCALING, STATE, episodes, team_model

import composite_flow as cf
from composite_flow.export.folder import export_model
from composite_flow.page.live.server import PageServer
from composite_flow.page.live.team import TeamPage, content_of_team
from composite_flow.runtime.bus import Bus
from composite_flow.runtime.launcher import TeamProcesses, exported_command, replay

pytest.importorskip("zenoh")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

STEPS = list(range(4, 16))  # the second half of an episode, and a whole one
LOGGED = episodes(24)
SECONDS = 300.0


@cache
def model():
    return team_model(jax.random.key(0))


@cache
def dataset():
    return cf.HistoryDataset(LOGGED, model().layout.length).with_scaling(SCALING)


class Shown:
    """What a replay was served as, what a listener on the bus heard, and how the server stands."""

    def __init__(self, server, page):
        self.server, self.page, self.heard = server, page, {}

    def note(self, data):
        told = json.loads(data)
        self.heard[told["step"], told["agent"]] = told

    @property
    def steps(self):
        return [data for _, kind, data in all_events(self.server.address) if kind == "step"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Four processes to which twelve steps were replayed; the page is still served."""
    folder = tmp_path_factory.mktemp("team") / "exported"
    export_model(model(), folder)
    commands = {
        agent: exported_command(str(folder), agent, "watched", ["--deadline", "2"], sys.executable)
        for agent in range(AGENTS)
    }
    with PageServer() as server, TeamProcesses("watched", commands) as processes:
        shown = Shown(server, TeamPage(server, model(), dataset(), STEPS, "a team"))
        with Bus("watched", through=[processes.endpoint]) as spy:
            spy.listen("estimate/*", lambda _, data: shown.note(data))
            processes.wait_until_met()
            time.sleep(0.5)
            for step, told in replay(processes, LOGGED, STEPS, 5.0):
                shown.page.step(step, told)
        shown.page.end("All has been replayed.")
        yield shown


def test_the_stream_holds_what_the_processes_told_and_nothing_else(shown):
    streamed = {(one["step"], one["agent"]): one for step in shown.steps for one in step["told"]}
    assert streamed == shown.heard and len(streamed) == AGENTS * len(STEPS)
    assert [step["row"] for step in shown.steps] == list(range(len(STEPS)))


def mean_told(shown, row, agents):
    """The mean of these agents' estimates, scaled."""
    means = [list(shown.heard[STEPS[row], agent]["mean"].values()) for agent in agents]
    return np.asarray(SCALING.scale(np.asarray(means, np.float32))).mean(axis=0)


def test_what_is_drawn_is_what_they_told(shown, watching):
    with watching(shown.server.address) as page:
        page.tab.wait_for_selector(".live[data-stands='ended']")
        np.testing.assert_allclose(page.mean, mean_told(shown, 11, range(AGENTS)), atol=1e-4)  # the newest
        assert page.tab.inner_text(".live .status") == "All has been replayed."
        page.agent(1).click()
        page.agent(3).click()
        np.testing.assert_allclose(page.mean, mean_told(shown, 11, [0, 2]), atol=1e-4)
        page.agent(0).click()
        told = shown.heard[STEPS[11], 2]
        deviation = np.asarray(list(told["deviation"].values())) / np.asarray(SCALING.maximum - SCALING.minimum)
        np.testing.assert_allclose(page.variance, deviation**2, atol=1e-4)
        heard = page.tab.locator("[data-told='2'] td >> nth=0").inner_text()
        assert heard == " ".join(str(agent + 1) for agent in told["participants"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_who_cannot_see_it_can_follow_a_team(shown, watching, scheme):
    with watching(shown.server.address, width=390, scheme=scheme) as page:
        page.tab.wait_for_selector(".live[data-stands='ended']")
        assert page.hindrances() == []
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_that_is_opened_late_has_all_steps_and_stays_at_the_one_it_was_asked_for(shown, watching):
    with watching(shown.server.address, "#episode=1&step=2") as page:
        page.tab.wait_for_selector(".live[data-stands='ended']")
        np.testing.assert_allclose(page.mean, mean_told(shown, 4 + 2, range(AGENTS)), atol=1e-4)
        assert not page.tab.locator("#newest").is_checked()
        page.tab.locator("#newest").check()
        np.testing.assert_allclose(page.mean, mean_told(shown, 11, range(AGENTS)), atol=1e-4)
        page.tab.locator("h1").click()
        page.tab.keyboard.press("Home")
        assert not page.tab.locator("#newest").is_checked()
        np.testing.assert_allclose(page.mean, mean_told(shown, 4, range(AGENTS)), atol=1e-4)


def test_the_page_knows_the_truth_before_anything_is_told():
    content = content_of_team(model(), dataset(), STEPS, "a team")
    assert content.lengths == (4, 8) and content.states.shape == (12, STATE)
    np.testing.assert_allclose(content.states, SCALING.scale(LOGGED.states[4:16]), atol=1e-6)


def test_steps_come_as_they_are_made_and_a_lost_connection_is_said_and_made_again(watching):
    """A page that is open from the start; nothing has been told yet."""
    told = {0: {"agent": 0, "step": 4, "bytes": 10, "messages": 3, "late": 0.0, "refused": {}, "received": 1.0}}
    told[0] |= {"mean": dict.fromkeys(model().state_names, 0.5), "deviation": dict.fromkeys(model().state_names, 0.25)}
    with PageServer() as server:
        page_of_team = TeamPage(server, model(), dataset(), STEPS, "a team")
        wire = Relay(port := urlsplit(server.address).port)
        with closing(wire), watching(server.address.replace(str(port), str(wire.port), 1), quiet=False) as page:
            page.tab.wait_for_selector(".live[data-stands='open']")
            assert "None of the chosen agents has told" in page.verdict
            page_of_team.step(4, told)
            page.tab.wait_for_selector("[data-told='0'] td:text-is('10 bytes')")
            wire.cut()
            page.tab.wait_for_selector(".live[data-stands='lost']")
            assert "trying again" in page.tab.inner_text(".live .fault")
            page_of_team.step(5, {0: told[0] | {"step": 5, "bytes": 11}})
            wire.whole = True
            page.tab.wait_for_selector("[data-told='0'] td:text-is('11 bytes')")
            page.tab.wait_for_selector(".live[data-stands='open']")
            assert page.tab.inner_text(".live .fault") == ""
            expected = (0.5 - np.asarray(SCALING.minimum)) / np.asarray(SCALING.maximum - SCALING.minimum)
            np.testing.assert_allclose(page.mean, expected, atol=1e-4)
        assert [event[0] for event in first_events(server.address, 2)] == [1, 2]


def test_names_that_are_scripts_and_numbers_that_are_none_are_shown_and_not_run(watching):
    hostile = "<img src=x onerror=\"document.title = 'run'\">"
    names = (hostile, "</script><script>document.title = 'run'</script>", *model().state_names[2:])
    named = dataclasses.replace(model(), state_names=names)
    mean = dict.fromkeys(names, 0.5) | {hostile: float("nan")}
    about = {"agent": 0, "step": 4, "bytes": 10, "messages": 3, "late": 0.0, "refused": {hostile: 1}}
    verdict = {"accepted": False, "reason": hostile, "agents": [], "sentence": hostile}
    with PageServer() as server:
        page_of_team = TeamPage(server, named, dataset(), STEPS, hostile)
        page_of_team.step(4, {0: {**about, "mean": mean, "deviation": mean, "verdict": verdict}})
        page_of_team.say(hostile)
        with watching(server.address) as page:
            page.tab.wait_for_selector("[data-told='0'] td:text-is('10 bytes')")
            assert "The estimate of 1 feature is no number" in page.verdict
            assert page.tab.title() == page.tab.inner_text("h1") == page.tab.inner_text(".live .status") == hostile
            assert hostile in page.tab.inner_text(".doubts") and hostile in page.tab.inner_text("[data-told='0']")
            page.agent(0).click()
            assert "None of the chosen agents" in page.verdict


def test_the_command_line_serves_a_team_until_it_is_interrupted(tmp_path):
    named = dataclasses.replace(model(), state_names=LOGGED.state_names)
    named.save(tmp_path / "run")
    LOGGED.save(tmp_path / "data")
    command = [sys.executable, "-m", "composite_flow", "team", str(tmp_path / "run"), str(tmp_path / "data")]
    options = ["--episodes", "1", "--deadline", "5", "--page", "--json"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(line.split()[-1] for line in process.stderr if line.startswith("Watch it at"))
            with asked(address) as response:
                assert response.status == 200 and b"connect-src 'self'" in response.read()
            events = all_events(address)
            assert sum(kind == "step" for _, kind, _ in events) == 8
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert json.loads(out)["steps"] == 8 and "Traceback" not in errors


def test_an_interrupt_is_heard_whichever_thread_it_reaches():
    code = """
import signal, threading, time
from composite_flow.cli.live import stay
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
def interrupt():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    time.sleep(1.0)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Thread(target=interrupt).start()
stay(lambda: None)
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "ended\n" and done.returncode == 0
