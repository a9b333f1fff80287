"""A hundred agents, 180 features and 50 steps: the page is small enough, opens soon, and scrubs fluently."""

import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.page.content import PageContent
from composite_flow.page.html import write_page
from composite_flow.page.stored_answers import stored_answers
from composite_flow.page.world_map import map_of

STEPS, AGENTS, STATE = 50, 100, 180
SCRUB = """new Promise((done) => {
  const slider = document.getElementById("step");
  let frames = 0;
  const next = () => {
    if (frames === 60) return done(frames);
    slider.value = String(frames++ % 50);
    slider.dispatchEvent(new Event("input"));
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


def large(types, has_map):
    """Drawn answers: what they say does not matter here."""
    rng = np.random.default_rng(0)
    problem = cf.SensorNetwork.grid(10, 10, num_targets=3)
    is_number = types.is_number
    weight = np.where(is_number, rng.exponential(1.0, (STEPS, AGENTS, STATE)), 0.0).astype(np.float32)
    evidence = rng.normal(0, 0.4, (STEPS, AGENTS, STATE)).astype(np.float32)
    answers = Answer(*(jnp.asarray(part) for part in (evidence, weight, weight)), free=jnp.zeros((STEPS, AGENTS, 0)))
    prior = Prior(jnp.full(STATE, 0.3), jnp.full(STATE, 2.0), types)
    names = problem.state_names if has_map else tuple(f"feature {place}" for place in range(STATE))
    parts = [stored_answers(prior, answers), ({"map": map_of(problem.description if has_map else None, names)}, {})]
    agents = tuple(f"agent {agent + 1}" for agent in range(AGENTS))
    states = rng.integers(0, 2, (STEPS, STATE)).astype(np.float32)
    return PageContent("large", agents, names, types, Scaling.identity(STATE), (STEPS,), states, parts)


def busy_seconds(tools):
    """Processor time of the page's thread so far, which does not depend on what else the machine does."""
    return {each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"]}["TaskDuration"]


@pytest.mark.parametrize("kind", ["sensors", "numbers"])
def test_a_large_team_is_watched_fluently(kind, tmp_path, opening):
    """At 30 frames a second there are 33 ms for each: the page's own thread may take 25 of them."""
    types = FeatureTypes(tuple(range(STATE)) if kind == "sensors" else (), (), STATE)
    path = write_page(large(types, kind == "sensors"), tmp_path / "page.html")
    assert path.stat().st_size < 20e6
    with opening(path) as page:
        tools = page.tab.context.new_cdp_session(page.tab)
        tools.send("Performance.enable", {"timeDomain": "threadTicks"})
        assert busy_seconds(tools) < 2
        before = busy_seconds(page.settle() and tools)
        frames = page.tab.evaluate(SCRUB)
        assert (busy_seconds(tools) - before) / frames < 0.025
