"""The examples show what they say."""

import importlib.util
import os
import re
from pathlib import Path

import jax
import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    """The module of an example, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) < 60


ROBOT_PYTHON = Path(os.environ.get("ROBOT_PYTHON", FOLDER.parent / ".venv-robot" / "bin" / "python"))


@pytest.mark.skipif(not ROBOT_PYTHON.exists(), reason="make test installs .venv-robot")
def test_robots_know_more_together_and_do_without_one(monkeypatch, capsys):
    """Four processes without JAX; robot 2 is off from step 8 to 15. Less is learned than by the example itself."""
    monkeypatch.syspath_prepend(str(FOLDER / "robots"))
    with jax.numpy_dtype_promotion("standard"):
        robots = example("robots/main")
        errors = robots.main(num_episodes=150, steps=600, python=str(ROBOT_PYTHON))
    off, on = range(robots.OFF, robots.ON), [*range(robots.OFF), *range(robots.ON, len(errors))]
    assert all(set(errors[step]) == {0, 1, 3} for step in off)
    assert all(set(errors[step]) == {0, 1, 2, 3} for step in on)
    told = capsys.readouterr().out.splitlines()
    off_on_average, nothing = (float(word) for word in re.findall(r"([\d.]+) m ", told[-1].replace("m.", "m .")))
    assert off_on_average < 0.6 * nothing and len(told) == len(errors) + 2


def test_an_inferred_state_is_worth_its_messages(capsys):
    """Sensors each miss the target with chance 1/2, and two must scan it at once, for 0.1 each and a reward of 1.

    Somebody sees it in 3/4 of the steps, which is worth 0.8; else the team does best to scan any area, for 1/4 − 0.2.
    """
    with jax.numpy_dtype_promotion("standard"):  # Optax outside of compiled functions, as in anybody's own program
        earned = example("inferred_state").main(updates=200)
    alone, inferred = earned["own observations"], earned["an inferred state"]
    best = 0.75 * 0.8 + 0.25 * 0.05
    # 25,600 rewards, each within [−0.4, 0.8], so that a mean is off by less than 0.02 for any policy
    assert 0.05 < alone < 0.35 and alone + 0.2 < inferred < best + 0.02
    assert f"{alone:.3f} from own observations, {inferred:.3f} from an inferred state" in capsys.readouterr().out


def test_an_answer_tells_what_its_agent_saw_beside_the_state(capsys):
    """Sensors that miss a target: the state says where it is, the answer says whether it was seen."""
    found = example("what_an_answer_reveals").main(episodes=256, length=2, steps=200, num_steps=1000, blocks=3)
    assert list(found) == ["last observation", "observations before", "actions"]
    last, before = found["last observation"], found["observations before"]
    for told in (last.ridge, last.network):
        # a target that is there is missed in 0.3 of the cases, which no state tells
        assert 0.2 < told["state"] < 0.75 and told["answer"] > told["state"] + 0.1 and told["both"] > 0.8
    assert before.ridge["answer"] < last.ridge["answer"]
    # actions are drawn at random, so that no state tells them; what answers tell of them depends on the training
    assert found["actions"].ridge["state"] < 0.05 and found["actions"].network["state"] < 0.05
    assert "last observation (4 columns): state 0." in capsys.readouterr().out
