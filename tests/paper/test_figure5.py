"""Figure 5: interquartile means against SciPy, verdicts by hand, and a sweep whose cells say what evaluation says."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

import composite_flow as cf
from composite_flow.files.plain_json import read_json
from composite_flow.policy.evaluation import PolicyEvaluation, evaluate_policy
from composite_flow_paper.experiment import run
from composite_flow_paper.figure5 import cell as figure5
from composite_flow_paper.figure5.cell import thinned
from composite_flow_paper.figure5.experiment import EXPERIMENT
from composite_flow_paper.figure5.report import corrected, ordering, smoothed
from composite_flow_paper.figure5.team import MATCHED, REMEMBERING, EvaluationSettings, config_of, num_weights
from composite_flow_paper.shared.interquartile import Runs, contrast, holm, interquartile_mean, stratified_interval

SMOKE = EXPERIMENT.presets["smoke"]
WORLD = replace(SMOKE.worlds[0], policy=replace(SMOKE.worlds[0].policy, checkpoint_seconds=0.0), also=(REMEMBERING,))
SETTINGS = replace(
    SMOKE, worlds=(WORLD,), curves=("agent", "denoised"), evaluation=EvaluationSettings(episodes=64, samples=0)
)


def quiet(message):
    """Progress that nobody reads."""


# --- statistics


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_interquartile_mean_is_scipys_trimmed_mean(count):
    scores = np.random.default_rng(0).normal(size=(6, count))
    np.testing.assert_allclose(interquartile_mean(scores), stats.trim_mean(scores, 0.25, axis=-1), atol=1e-12)


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([100.0, 1.0, 3.0, -100.0])) == 2.0
    assert interquartile_mean(np.array([5.0, 1.0, 0.0])) == 2.0  # too few to leave any out


def test_three_runs_have_their_range_as_interval():
    """All three draws hit the smallest with chance 1/27, which is more than the interval leaves out."""
    low, high = stratified_interval(np.array([[[1.0, 2.0, 6.0]], [[5.0, 5.0, 5.0]]]))
    np.testing.assert_array_equal(low, [1.0, 5.0])
    np.testing.assert_array_equal(high, [6.0, 5.0])


def test_strata_are_drawn_from_within():
    """Two worlds of constant scores: whatever is drawn, half of the scores are of each."""
    low, high = stratified_interval(np.array([[0.0] * 4, [1.0] * 4]))
    assert low == high == 0.5


def test_the_p_value_is_welchs_and_goes_with_the_interval():
    draws = np.random.default_rng(2)
    first, second = draws.normal(1.0, 1.0, 5), draws.normal(0.0, 3.0, 4)
    found = contrast([(1, Runs(first, np.zeros(5))), (-1, Runs(second, np.zeros(4)))])
    assert found.p_value == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    for shift in (1.0, 3.0, 5.0, 8.0):
        found = contrast([(1, Runs(first + shift, np.full(5, 0.1))), (-1, Runs(second, np.full(4, 0.1)))])
        assert (found.p_value < 0.05) == (found.interval[0] > 0)
    # runs that agree by chance: the scatter of their episodes decides
    found = contrast([(1, Runs(np.full(4, 0.3), np.full(4, 0.4)))])
    assert found.p_value == pytest.approx(2 * stats.norm.sf(0.3 / 0.2))


def test_holms_adjusted_p_values_by_hand():
    """0.01 · 4, then at least that: 0.02 · 3, 0.02 · 2 but no less than before, and 0.9."""
    assert holm([0.9, 0.02, 0.01, 0.021]) == pytest.approx([0.9, 0.06, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_comparisons_are_decided_after_correction():
    """Alone each of two is decided at 0.03; as two, neither is. One of 0.001 is, and says what it said."""

    def part(p_value, verdict):
        return {"difference": 1.0, "interval": (0.5, 1.5), "verdict": verdict, "p_value": p_value}

    def world(*parts):
        orders = {"final": {"parts": dict(zip("ab", parts, strict=True))}, "throughout": {"parts": {}}}
        return {"ordering": orders}

    told = corrected({"here": world(part(0.03, "confirmed"), part(0.03, "contradicted"))})
    assert [row["verdict_corrected"] for row in told] == ["undecided"] * 2 and not told[0]["chosen_after"]
    told = corrected({"sensors3x3-miss": world(part(0.001, "contradicted"), part(0.04, "confirmed"))})
    assert [row["verdict_corrected"] for row in told] == ["contradicted", "confirmed"] and told[0]["chosen_after"]


def test_bootstrap_covers_the_mean_of_many_runs():
    """Of a hundred intervals of level 0.95 at least 86 hold the truth, but once in a thousand times."""
    runs = np.random.default_rng(1).normal(size=(100, 1, 40))
    low, high = stratified_interval(runs)
    assert np.sum((low <= 0) & (0 <= high)) >= 86


def test_contrast_is_welchs_interval():
    first, second = np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.5, 0.2, 0.1])
    found = contrast([(1, Runs(first, np.zeros(3))), (-1, Runs(second, np.zeros(4)))])
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(found.interval, expected, rtol=1e-9)
    assert found.value == pytest.approx(7 / 3 - 0.2)


def test_contrast_of_runs_that_agree_is_as_wide_as_their_episodes_say():
    agreed = Runs(np.array([0.5, 0.5]), np.array([0.03, 0.04]))
    found = contrast([(1, agreed)])
    # 1.96 · √(0.03² + 0.04²) / 2
    np.testing.assert_allclose(found.interval, (0.5 - 0.049, 0.5 + 0.049), atol=1e-4)
    assert contrast([(1, agreed), (-1, Runs(np.array([0.1]), np.array([0.01])))]).interval is None


# --- what is said


def runs_of(curve, values):
    """Cells of one curve that reached these win rates, and in training half of them."""
    return [
        {
            "measure": "win_rate",
            "final": {"win_rate": value, "standard_errors": {"win_rate": 0.001}},
            "curve": {"win_rate": [0.0, None, value]},
        }
        for value in values
    ]


def test_ordering_is_said_as_it_is():
    here = {"state": [0.9, 0.91, 0.92], "denoised": [0.7, 0.71, 0.72], "agent": [0.5, 0.51, 0.52]}
    cells = {curve: runs_of(curve, values) for curve, values in here.items()}
    final = ordering(cells, "final")
    assert final["verdict"] == "confirmed" and "own observation, at the end of training: confirmed" in final["sentence"]
    assert final["parts"]["state ≥ denoised"]["difference"] == pytest.approx(0.2)
    halves = ordering(cells, "throughout")
    assert halves["parts"]["state ≥ denoised"]["difference"] == pytest.approx(0.1)

    swapped = ordering({**cells, "state": cells["agent"], "agent": cells["state"]}, "final")
    assert swapped["verdict"] == "contradicted"
    scattered = ordering({**cells, "agent": runs_of("agent", [0.2, 0.6, 0.8])}, "final")
    assert scattered["verdict"] == "undecided" and "denoised ≥ agent is undecided" in scattered["sentence"]
    assert ordering({curve: cells[curve] for curve in ("state", "agent")}, "final")["verdict"] == "not measured"
    alone = ordering({curve: parts[:1] for curve, parts in cells.items()}, "final")
    assert alone["verdict"] == "undecided" and "one seed" in alone["sentence"]


def test_thinned_curve_weighs_episodes():
    rows = [
        {"steps": 10 * k, "episodes": k, "return": float(k) if k else None, "win_rate": None, "entropy": 1.0}
        | {"psnr": 10.0 * (k % 2 + 1), "steps_per_second": 100.0 * (1 + 3 * (k % 2))}
        for k in range(4)
    ]
    found = thinned(rows, 2)
    assert found["steps"] == [10, 30]
    assert found["return"] == [1.0, pytest.approx((2 * 2 + 3 * 3) / 5)]
    assert found["win_rate"] == [None, None]
    # errors 0.1 and 0.01
    assert found["psnr"] == pytest.approx([-10 * np.log10(0.055)] * 2)
    # as many steps at 100 a second as at 400
    assert found["steps_per_second"] == pytest.approx([160.0, 160.0])


def test_smoothing_skips_what_is_unknown():
    curve = np.arange(60.0)
    curve[30] = np.nan
    found = smoothed(curve)  # over three points
    np.testing.assert_allclose(found[1:29], np.arange(1.0, 29.0))
    assert found[29] == 28.5 and found[30] == 30.0 and found[0] == 0.5 and found[-1] == 58.5
    np.testing.assert_array_equal(smoothed(np.array([1.0, np.nan])), [1.0, np.nan])


# --- what is run


@pytest.mark.parametrize("preset", ["smoke", "laptop"])
def test_curves_differ_in_the_input_alone_and_weights_match(preset):
    for world in EXPERIMENT.presets[preset].worlds[::2]:  # the others have the sizes of these
        problem, matched = cf.problem_from_text(world.problem), config_of(world, MATCHED)
        denoised = config_of(world, "denoised")
        assert num_weights(problem, matched) == pytest.approx(num_weights(problem, denoised), rel=0.02)
        assert replace(matched, actor_width=None) == config_of(world, "agent")
        assert replace(denoised, inputs="agent") == config_of(world, "agent")
        assert replace(config_of(world, REMEMBERING), memory="none") == config_of(world, "agent")


def test_laptop_asks_for_what_it_must():
    laptop = EXPERIMENT.presets["laptop"]
    assert laptop.num_seeds >= 3 and laptop.evaluation.episodes >= 1000
    assert all(world.policy.steps >= 2_000_000 for world in laptop.worlds)
    names = [cell.name for cell in EXPERIMENT.cells(laptop, 0)]
    assert len(set(names)) == len(names) == 3 * (4 * 6 + 1)


def without_clock(cell):
    """A cell's result without what the clock says."""
    curve = {name: column for name, column in cell["curve"].items() if name != "steps_per_second"}
    return {**{name: part for name, part in cell.items() if name != "steps_per_second"}, "curve": curve}


def test_teams_are_also_evaluated_with_less_sight_and_without_some_messages(monkeypatch):
    asked = []

    def evaluate(problem, policy, *, key, num_episodes, lost, num_samples, certain_radius):
        asked.append((getattr(problem, "num_steps", problem), lost, num_samples, num_episodes))
        return PolicyEvaluation(np.array([1.0, 3.0]), None, np.array([4, 4]), 20.0, None, None, 8.0, 128.0)

    monkeypatch.setattr(figure5, "evaluate_policy", evaluate)
    monkeypatch.setattr(figure5, "OtherSight", lambda problem, sight: sight)
    world = replace(WORLD, sights=(2.0,))
    problem = cf.problem_from_text(world.problem)
    settings = EvaluationSettings(episodes=7, samples=3, lost=(0.1,))
    found = {}
    for curve in ("state", "agent", "composite"):
        team = figure5.Team(world, curve, 0, settings)
        found[curve] = figure5.evaluated(team, problem, None, quiet)  # pyright: ignore[reportArgumentType]
    assert asked == [(4, 0.0, 3, 7)] * 2 + [(2.0, 0.0, 0, 7), (4, 0.0, 3, 7), (2.0, 0.0, 0, 7), (4, 0.1, 0, 7)]
    assert found["composite"]["final"]["return"] == 2.0
    assert found["composite"]["final"]["standard_errors"] == {"return": 1.0, "length": 0.0}
    changes = [list(part["changed"]) for part in found.values()]
    assert changes == [[], ["sight 2"], ["sight 2", "10% of the messages lost"]]


@pytest.mark.slow
def test_sweep(tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    summary = run(EXPERIMENT, SETTINGS, whole, progress=quiet).summary
    assert summary["cells"] == {"done": 6, "planned": 6}
    assert list(summary["worlds"][WORLD.name]["curves"]) == ["agent", "denoised", REMEMBERING]
    for cell in EXPERIMENT.cells(SETTINGS, 0):
        curve = read_json(whole / f"{cell.name}.json")["result"]["curve"]
        # sensors earn at most 0.8 in each of four steps
        assert curve["return"][0] < curve["return"][-1] < 3.2 and curve["steps"][-1] == 6_400

    # a cell says what evaluation says of the policy that its folder keeps
    name, problem = "sensors2x2-denoised-seed1", cf.problem_from_text(WORLD.problem)
    final = read_json(whole / f"{name}.json")["result"]["final"]
    policy = cf.load_policy(whole / "policies" / WORLD.name / "denoised-seed1")
    again = evaluate_policy(problem, policy, key=jax.random.key(1), num_episodes=64, num_samples=0)
    assert final["return"] == np.mean(again.returns) and final["psnr"] == again.psnr
    part = summary["worlds"][WORLD.name]["curves"]["denoised"]
    assert part["final"]["runs"][1] == final["return"]
    assert part["final"]["mean"] == pytest.approx(np.mean(part["final"]["runs"]))
    assert summary["worlds"][WORLD.name]["ordering"]["final"]["verdict"] == "not measured"
    assert "| denoised (inferred state) above agent (own observation) |" in (whole / "figure5.md").read_text()
    assert all((whole / f"{stem}.png").stat().st_size > 10_000 for stem in ("figure5", "figure5_psnr"))

    # as if killed in the middle of the last run: nothing is saved after this
    shutil.copytree(whole, killed)
    (killed / f"{name}.json").unlink()
    shutil.rmtree(killed / "policies" / WORLD.name / "denoised-seed1")
    train = figure5.train_policy

    class Killed(Exception):
        pass

    def kill(steps, total, rows):
        if steps > total / 3:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(figure5, "train_policy", lambda *args, **options: train(*args, **{**options, "progress": kill}))
        run(EXPERIMENT, SETTINGS, killed, progress=quiet)
    run(EXPERIMENT, SETTINGS, killed, progress=quiet)
    ours, theirs = (read_json(out / f"{name}.json")["result"] for out in (killed, whole))
    assert without_clock(ours) == without_clock(theirs)

    told = []
    assert run(EXPERIMENT, SETTINGS, whole, progress=told.append).summary == summary and not told
