"""Pages of a policy's episodes: what each agent infers by itself, and the mixture of the chosen ones."""

import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout
from composite_flow.page.from_records import content_of_records
from composite_flow.page.html import write_page
from composite_flow.policy.episode import EpisodeRecord
from composite_flow.policy.inference import Inference

PROBLEM = cf.SensorNetwork.grid(2, 2, num_targets=1)
SIZE, AGENTS, STEPS, SAMPLES = PROBLEM.state_size, PROBLEM.num_agents, 3, 5
SCALING = Scaling(jnp.zeros(SIZE), jnp.full(SIZE, 2.0))
LAYOUT = HistoryLayout(1, PROBLEM.observation_size, PROBLEM.num_actions, AGENTS)
INFERENCE = Inference(LAYOUT, SCALING, calls=2, samples=SAMPLES, together=True)


def record(seed, samples=SAMPLES, won=None):
    rng = np.random.default_rng(seed)
    states = np.eye(SIZE, dtype=np.float32)[rng.integers(0, SIZE, STEPS)]
    seen = rng.integers(0, 2, (STEPS, AGENTS, PROBLEM.observation_size)).astype(np.float32)
    drawn = rng.normal(0.5, 0.3, (STEPS, AGENTS, samples, SIZE)).astype(np.float32) if samples else None
    actions, rewards = np.zeros((STEPS, AGENTS), np.int32), np.full(STEPS, 0.5, np.float32)
    return EpisodeRecord(states, seen, actions, drawn, rewards, won)


RECORDS = [record(0), record(1, won=True)]


def test_beliefs_are_means_and_variances_of_the_samples_scaled():
    header, arrays = content_of_records(PROBLEM, RECORDS, INFERENCE, title="play").block()
    np.testing.assert_allclose(arrays["own_mean"][4], RECORDS[1].samples[1].mean(axis=1) / 2, rtol=1e-5)
    np.testing.assert_allclose(arrays["own_variance"][4], RECORDS[1].samples[1].var(axis=1) / 4, rtol=1e-5)
    np.testing.assert_allclose(arrays["states"][:3], RECORDS[0].states / 2)
    assert (
        header["samples"] == {"count": SAMPLES, "one": False, "messages": 2 * AGENTS}
        and header["map"]["kind"] == "sensors"
    )
    assert header["notes"] == ["In episode 1 the team earned 1.5.", "In episode 2 the team earned 1.5, and won."]


def test_a_team_that_infers_nothing_has_no_page():
    with pytest.raises(InputError, match="infers nothing"):
        content_of_records(PROBLEM, [record(0, samples=0)], INFERENCE, title="play")
    with pytest.raises(InputError, match="infers nothing"):
        content_of_records(PROBLEM, RECORDS, None, title="play")


def test_the_page_averages_the_beliefs_of_the_chosen_agents(tmp_path, opening):
    path = write_page(content_of_records(PROBLEM, RECORDS, INFERENCE, title="play"), tmp_path / "page.html")
    chosen = RECORDS[1].samples[2, [0, 2]].reshape(-1, SIZE) / 2
    with opening(path, "#episode=1&step=2&agents=0,2") as page:
        np.testing.assert_allclose(page.mean, chosen.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(page.variance, chosen.var(axis=0), atol=1e-4)
        assert not page.tab.locator("#hops").is_visible()
        page.tab.get_by_role("button", name="None").click()
        assert "nothing is inferred" in page.verdict


def test_one_state_alone_claims_no_spread_and_is_not_judged_by_it(tmp_path, opening):
    """Two agents have one between them; where all hold the same state, nobody has."""
    apart, same = (
        Inference(LAYOUT, SCALING, calls=2, samples=1, together=True, shared=shared) for shared in (False, True)
    )
    records = [record(0, samples=1)]
    for name, inference in (("apart", apart), ("same", same)):
        path = write_page(content_of_records(PROBLEM, records, inference, title="play"), tmp_path / f"{name}.html")
        for agents, is_known in (("0", False), ("0,2", inference is apart)):
            with opening(path, f"#agents={agents}") as page:
                assert np.isfinite(page.variance).all() == is_known
                assert ("judged" in page.verdict) != is_known
                assert (page.tab.inner_text(".tile.expected dd") == "–") != is_known
