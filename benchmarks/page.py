"""How soon the page of a large team opens, and what a frame of scrubbing costs: `python -m benchmarks.page`.

A hundred agents, 180 features and 50 steps, in a Chromium without a GPU. Processor time of the page's own thread is
told beside wall time, which depends on what else the machine does.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.page.content import PageContent
from composite_flow.page.html import write_page
from composite_flow.page.stored_answers import stored_answers
from composite_flow.page.world_map import map_of

STEPS, AGENTS, STATE = 50, 100, 180
KINDS = ("sensors", "numbers")
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


def large(kind: str) -> PageContent:
    """Drawn answers of a network of sensors, or of numbers without a map: what they say does not matter here."""
    has_map = kind == "sensors"
    types = FeatureTypes(tuple(range(STATE)) if has_map else (), (), STATE)
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


def busy_seconds(tools: Any) -> float:
    """Processor time of the page's thread so far, which does not depend on what else the machine does."""
    return {each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"]}["TaskDuration"]


def main() -> None:
    """Measure both kinds of pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", default=shutil.which("chromium"))
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chosen.browser, args=arguments) as browser:
            for kind in KINDS:
                print(measured(browser, kind, Path(folder)), flush=True)


def measured(browser: Any, kind: str, folder: Path) -> str:
    """What one page comes to, in words."""
    path = write_page(large(kind), folder / f"{kind}.html")
    tab = browser.new_page()
    tools = tab.context.new_cdp_session(tab)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    started = time.perf_counter()
    tab.goto(f"file://{path}")
    tab.wait_for_selector("#page[data-opened]")
    opened, busy = time.perf_counter() - started, busy_seconds(tools)
    started = time.perf_counter()
    frames = tab.evaluate(SCRUB)
    seconds, scrubbed = time.perf_counter() - started, busy_seconds(tools) - busy
    tab.close()
    return (
        f"{kind}: {path.stat().st_size / 1e6:.1f} MB, opens in {opened:.2f} s ({busy:.2f} s of processor time), "
        f"{frames / seconds:.0f} frames a second ({1e3 * scrubbed / frames:.1f} ms of processor time a frame)"
    )


if __name__ == "__main__":
    main()
