"""What can be known of a problem, in closed form: where an agent knows nothing and the team all, or all itself."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.analysis.knowledge import knowledge
from composite_flow.errors import InputError

FILES = Path(__file__).parent.parent / "problems" / "dpomdp" / "files"


@pytest.fixture(scope="module")
def of_xor():
    return knowledge(cf.from_dpomdp(FILES / "xor.dpomdp", num_steps=3), 48, key=jax.random.key(0))


def test_coins_tell_one_agent_nothing_and_the_team_all(of_xor):
    """One bit is open to everybody alone and to sums of answers; to the team only before the first observation."""
    for known in (of_xor.nobody, *of_xor.agents, of_xor.fusion):
        np.testing.assert_allclose([known.bits, known.right, known.certain, known.states], [1, 0.5, 0, 2], atol=1e-6)
    first = of_xor.team.bits  # the share of first steps: one bit there, none elsewhere
    assert 0.1 < first < 0.6
    np.testing.assert_allclose(of_xor.team.right, 1 - first / 2, atol=1e-6)
    np.testing.assert_allclose([of_xor.team.certain, of_xor.team.states], [1 - first, 1 + first], atol=1e-6)
    np.testing.assert_allclose(of_xor.excess, 1 - first, atol=1e-6)


def test_no_passing_round_finds_what_only_the_joint_history_tells(of_xor):
    """Composite diffusion guesses: right half of the time, within five standard errors of 48 trials."""
    assert abs(of_xor.composite.right - 0.5) < 5 * np.sqrt(0.25 / 48)
    assert of_xor.composite_possible < 0.95


def test_where_one_agent_sees_the_state_nothing_is_open(tmp_path):
    text = (FILES / "xor.dpomdp").read_text()
    told = text[: text.index("O: * *")] + "O: * * : alike : heads * : 0.5\nO: * * : different : tails * : 0.5\n"
    path = tmp_path / "told.dpomdp"
    path.write_text(told.replace("start:\n0.5 0.5", "start: alike"))
    found = knowledge(cf.from_dpomdp(path, num_steps=3), 32, key=jax.random.key(1))
    for known in (found.agents[0], found.team, found.fusion):
        np.testing.assert_allclose([known.bits, known.right, known.certain, known.states], [0, 1, 1, 1], atol=1e-5)
    assert found.composite.right == 1 and found.composite_possible == 1 and found.excess == 0
    # The other agent knows the first state, and nothing after it.
    later = 1 - found.agents[1].certain
    np.testing.assert_allclose([found.agents[1].bits, found.agents[1].states], [later, 1 + later], atol=1e-6)


def test_the_command_line_says_it_and_keeps_it(tmp_path, capsys):
    file = f"{FILES / 'xor.dpomdp'},steps=3"
    arguments = ["analyze", file, "--joint", "48", "--out", str(tmp_path / "out"), "--json"]
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "knowledge.json").read_text())
    assert told["agents"][1]["bits"] == pytest.approx(1)
    assert "who knows most alone" in told["summary"][0] and "no passing round" in told["summary"][2]
    assert cli.main(arguments) == 1
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [("", "is a folder: name the episodes as well"), ("ring_world:Ring,size=4", "cannot be listed")],
)
def test_what_is_no_listed_problem_is_refused(problem, sentence, tmp_path, capsys):
    assert cli.main(["analyze", problem or str(tmp_path)]) == 1
    assert sentence in capsys.readouterr().err


def test_knowledge_needs_histories(key):
    with pytest.raises(InputError, match="at least one joint history"):
        knowledge(cf.from_dpomdp(FILES / "xor.dpomdp"), 0, key=key)
