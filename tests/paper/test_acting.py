"""Ways to act: verdicts by hand, what the laptop preset asks for, and a team that learns to infer before it acts."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines.training import num_parameters
from composite_flow.files.plain_json import read_json
from composite_flow.policy import pretraining
from composite_flow.policy.evaluation import evaluate_policy
from composite_flow_paper.acting.experiment import EXPERIMENT
from composite_flow_paper.acting.report import decided
from composite_flow_paper.acting.settings import Comparison
from composite_flow_paper.experiment import run
from composite_flow_paper.figure5 import cell as figure5
from composite_flow_paper.figure5.team import REMEMBERING, Team, config_of, weights_that_act

LAPTOP, SMOKE = EXPERIMENT.presets["laptop"], EXPERIMENT.presets["smoke"]


def quiet(message):
    """Progress that nobody reads."""


def runs_of(values):
    """Cells of one way that earned so much."""
    errors = {"return": 0.01}
    return [
        {"measure": "return", "final": {"return": one, "standard_errors": errors}, "curve": {"return": [one]}}
        for one in values
    ]


def test_a_comparison_is_decided_after_correction_for_all_that_were_named():
    """Alone the first is decided at 5%; as one of four it is not, also where the others have no cells yet."""
    cells = {
        "here": {"a": runs_of([1.0, 2.0, 3.0, 2.0]), "b": runs_of([0.1, 1.0, 0.2, 0.6]), "c": runs_of([-9.0, -9.1])},
        "there": {"a": [], "b": []},
    }
    one, other = Comparison("here", "a", "b"), Comparison("there", "a", "b")
    (alone,) = decided([one], cells)
    assert 0.0125 < alone["p_value"] == alone["adjusted"] < 0.05 and alone["verdict"] == "confirmed"
    first, *rest = decided([one, other, other, other], cells)
    assert first["adjusted"] == pytest.approx(4 * alone["p_value"]) and first["verdict"] == "undecided"
    assert {told["verdict"] for told in rest} == {"not measured"} and rest[0]["difference"] is None
    (turned,) = decided([Comparison("here", "c", "a")], cells)
    assert turned["verdict"] == "contradicted" and turned["difference"] == pytest.approx(-11.05)


def test_the_laptop_asks_for_what_was_named_before():
    """At most ten ways a world and four comparisons, of cells that there are; five seeds of sensors."""
    cells = EXPERIMENT.cells(LAPTOP, 0)
    names = {cell.group for cell in cells}
    assert len(names) == sum(len(world.ways) for world in LAPTOP.worlds)
    assert len(cells) == sum(len(world.ways) * world.num_seeds for world in LAPTOP.worlds)
    assert all(len(world.ways) <= 10 for world in LAPTOP.worlds) and len(LAPTOP.comparisons) <= 4
    for one in LAPTOP.comparisons:
        assert {f"{one.world}-{one.first}", f"{one.world}-{one.second}"} <= names
    for world in LAPTOP.worlds:
        sensors = world.panel.problem.startswith("sensor:")
        assert (world.num_seeds, world.panel.policy.discount) == ((5, 0.0) if sensors else (3, 0.99))


def test_ways_differ_in_the_input_and_the_memory_alone():
    world = LAPTOP.worlds[0].panel
    for way in LAPTOP.worlds[0].ways:
        assert replace(config_of(world, way), inputs="agent", memory="none") == config_of(world, "agent")
    assert config_of(world, "remembering-belief") == replace(config_of(world, REMEMBERING), inputs="belief")


def test_only_those_who_infer_learn_before():
    world = SMOKE.worlds[0].panel
    teams = {way: Team(world, way, 0, pretraining=SMOKE.pretraining) for way in ("agent", "belief", "composite")}
    assert [way for way, team in teams.items() if team.learns_before] == ["belief", "composite"]
    assert teams["agent"].settings.pretraining.pretrain == 0 and teams["belief"].settings.pretraining.pretrain == 64
    assert not replace(teams["belief"], pretraining=type(SMOKE.pretraining)()).learns_before


@pytest.mark.slow
def test_a_team_learns_to_infer_and_then_to_act_and_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    worlds = (replace(SMOKE.worlds[0], ways=("belief",), num_seeds=1),)
    settings = replace(SMOKE, worlds=worlds, evaluation=replace(SMOKE.evaluation, episodes=64))
    world = worlds[0].panel
    learned = []

    class Killed(Exception):
        pass

    def kill(*arguments, **options):
        raise Killed

    def pretrain(*arguments, **options):
        learned.append(before(*arguments, **options))
        return learned[-1]

    before = pretraining.pretrained
    monkeypatch.setattr(pretraining, "pretrained", pretrain)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(figure5, "train_policy", kill)
        run(EXPERIMENT, settings, tmp_path, progress=quiet)
    summary = run(EXPERIMENT, settings, tmp_path, progress=quiet).summary
    assert len(learned) == 1, "what had been learned before is there"
    (told,) = summary["comparisons"]
    assert (
        told["verdict"] == "not measured"
        and "| belief (carried by the team) | 1 |" in (tmp_path / "acting.md").read_text()
    )
    assert (tmp_path / "acting.png").stat().st_size > 10_000

    # the cell says what evaluation says of the policy in its folder, whose agents infer by what was learned before
    found = read_json(tmp_path / "sensors2x2-miss-belief-seed0.json")["result"]
    policy, problem = (
        cf.load_policy(tmp_path / "policies/sensors2x2-miss/belief-seed0"),
        cf.problem_from_text(world.problem),
    )
    again = evaluate_policy(problem, policy, key=jax.random.key(0), num_episodes=64)
    assert found["final"]["return"] == np.mean(again.returns) and found["final"]["messages"] == 7
    chain = policy.team.denoiser.chain
    for ours, theirs in zip(jax.tree.leaves(chain), jax.tree.leaves(learned[0].fusion.over_time), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found["weights"] == num_parameters(policy.actor) + num_parameters(chain)
    own = Team(world, "agent", 0).config
    assert weights_that_act(problem, own, policy) < found["weights"]
