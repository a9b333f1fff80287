"""Table 1's smallest preset: its numbers, a sweep that was killed, what each column is trained and tested on."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from composite_flow.data import Episodes
from composite_flow.data.pairs import distinct_pairs
from composite_flow.data.run_split import fingerprint
from composite_flow.errors import InputError, MismatchError
from composite_flow.files.plain_json import jsonable
from composite_flow.problems import unseen_share
from composite_flow_paper.experiment import run, tasks_of
from composite_flow_paper.figure2 import battles as figure2_battles
from composite_flow_paper.shared.cells import Cell, Preparation, Workspace
from composite_flow_paper.shared.paired_error import EpisodeErrors, psnr_difference
from composite_flow_paper.table1.battles import battle_episodes, differences_of_worlds, divide
from composite_flow_paper.table1.beyond import ROWS, _fusion_above
from composite_flow_paper.table1.cell import ABLATIONS, BEYOND, FEW_SEEDS, columns_of
from composite_flow_paper.table1.chain import chain
from composite_flow_paper.table1.experiment import EXPERIMENT
from composite_flow_paper.table1.report import PAPER, _above, paper_place
from composite_flow_paper.table1.tuning import rate_trials

# One width, one length and no plain network, as each more means to compile all of it again.
RIVALS = ("stronger", "joint_regression", "variational")
QUICK = tuple(name for name in BEYOND if name != "joint_samples")  # which is computed apart, with fewer steps
SETTINGS = replace(EXPERIMENT.presets["smoke"], width=(32,), length=(2,), rivals=RIVALS, beyond=QUICK)
BATTLE = SETTINGS.default.battle
TIMES = ("train_seconds",)


def quiet(message):
    """Progress that nobody reads."""


class Killed(Exception):
    """What ends a sweep in the midst of a cell."""


pytestmark = pytest.mark.usefixtures("permissive")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep killed in its second cell, the summary and table that it left, and what the sweep that went on gave."""
    out = tmp_path_factory.mktemp("table1")

    def kill(message):
        if message.startswith("stronger-seed0, training: step 200"):
            raise Killed

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        with pytest.raises(Killed):
            run(EXPERIMENT, SETTINGS, out, progress=kill)
        left = json.loads((out / "summary.json").read_text()), (out / "table1.md").read_text()
        return out, left, run(EXPERIMENT, SETTINGS, out, progress=quiet).summary


@pytest.fixture(scope="module")
def episodes(swept):
    return Episodes.load(swept[0] / "data" / BATTLE.name)


def result_of(path):
    """A cell's result, without what the clock says."""
    return {name: value for name, value in json.loads(path.read_text())["result"].items() if name not in TIMES}


@pytest.mark.slow
def test_a_killed_sweep_leaves_the_summary_of_what_is_done(swept):
    _, (left, text), summary = swept
    assert left["cells"] == {"done": 1, "planned": 5} and summary["cells"] == {"done": 5, "planned": 5}
    assert [row["cell"] for row in left["rows"]] == ["denoiser"] * 7
    done = [column for column in left["columns"] if column["seeds"]]
    assert {column["setting"] for column in done} == {SETTINGS.default.name}
    assert "(1 of 5 cells)" in text and "| – |" in text
    first = [column for column in summary["columns"] if column["setting"] == SETTINGS.default.name]
    assert done == first


@pytest.mark.slow
def test_a_cell_computed_again_is_the_same(swept, tmp_path):
    """Equal to the bit: from the kept episodes, whatever was computed before it."""
    out, _, _ = swept
    for name in ("policies", "data"):
        (tmp_path / name).symlink_to(out / name)
    names = {f"{SETTINGS.default.name}-seed0.json", "stronger-seed0.json"}
    for path in out.glob("*-seed0.json"):
        if path.name not in names:
            (tmp_path / path.name).write_text(path.read_text())
    run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet)
    for name in names:
        assert result_of(tmp_path / name) == result_of(out / name)


def test_a_battle_is_prepared_once_before_the_first_cell_that_needs_it(tmp_path):
    settings = replace(SETTINGS, sight=(5, 9), rivals=("stronger",))
    tasks = tasks_of(EXPERIMENT.cells(settings, 0), tmp_path)
    assert [(type(task), task.name) for task in tasks[:3]] == [
        (Preparation, "data/zerg-sight9"),
        (Cell, f"{settings.default.name}-seed0"),
        (Cell, "stronger-seed0"),
    ]
    prepared = [task.name for task in tasks if isinstance(task, Preparation)]
    assert prepared == ["data/zerg-sight9", "data/zerg-sight5", "data/zerg-sight9-intervals"]
    (tmp_path / "data" / "zerg-sight9").mkdir(parents=True)
    there = tasks_of(EXPERIMENT.cells(settings, 0), tmp_path)
    assert [task.name for task in there if isinstance(task, Preparation)] == prepared[1:]


@pytest.mark.slow
def test_nothing_is_computed_twice_and_other_settings_are_refused(swept):
    out, _, summary = swept
    told = []
    assert run(EXPERIMENT, SETTINGS, out, progress=told.append).summary == summary and not told
    # fewer columns need no other cells
    fewer = replace(SETTINGS, samples=(300,), rivals=("stronger",))
    assert run(EXPERIMENT, fewer, out, progress=told.append).summary["cells"]["done"] == 2 and not told
    with pytest.raises(MismatchError, match="other settings"):
        run(EXPERIMENT, replace(SETTINGS, num_histories=50), out, progress=quiet)


@pytest.mark.slow
def test_numbers_belong_together(swept):
    """A gap is the difference of its two PSNRs, and both follow from the kept errors of the episodes."""
    out, _, summary = swept
    for column in summary["columns"]:
        for split in ("train", "test"):
            psnr, gap = column["psnr"][split], column["gap"][split]
            assert gap["decibels"] == pytest.approx(psnr["composite"] - psnr["individual"], abs=1e-6)
            low, high = gap["interval"]
            assert low < gap["decibels"] < high
        kept = result_of(out / f"{column['setting']}-seed0.json")["test"]
        errors = EpisodeErrors.from_json(kept["episodes"])
        assert errors.counts.sum() == SETTINGS.num_histories
        # five digits are kept: 1e-5 of an error is 4e-5 dB
        assert -10 * np.log10(errors.mean("composite")) == pytest.approx(kept["psnr"]["composite"], abs=1e-4)
        assert psnr_difference(errors, "individual", "composite")["decibels"] == pytest.approx(
            column["gap"]["test"]["decibels"], abs=2e-4
        )


@pytest.mark.slow
def test_rivals_stand_beside_composite_diffusion_on_the_same_steps(swept):
    _, _, summary = swept
    rows = {(row["cell"], row["estimator"]): row for row in summary["rows"]}
    assert len(rows) == 14
    composite = rows["denoiser", "composite"]
    for row in rows.values():
        if row is not composite:
            difference = composite["psnr"]["test"] - row["psnr"]["test"]
            assert row["composite_above"]["decibels"] == pytest.approx(difference, abs=2e-4)
    parameters = {cell: row["parameters"] for (cell, _), row in rows.items()}
    assert parameters["denoiser"] < parameters["stronger"]
    for equal in ("joint_regression", "variational"):
        # one unit more or less in every layer
        assert parameters[equal] == pytest.approx(parameters["denoiser"], rel=0.06)
    # an agent's mean errs less than its samples, as the square is convex; and all agents' mean less than each
    autoencoder = [rows["variational", name]["psnr"]["test"] for name in ("individual", "individual_mean", "team_mean")]
    assert autoencoder == sorted(autoencoder)
    for name in ("composite", "parallel_mean"):
        assert rows["denoiser", f"{name}_averaged"]["psnr"]["test"] > rows["denoiser", name]["psnr"]["test"]
    assert rows["joint_regression", "best_step"]["best_step"][0] in (100, 200, 300)


@pytest.mark.slow
def test_everything_beyond_the_paper_stands_beside_fusion_on_the_same_steps(swept):
    _, _, summary = swept
    rows = {(row["cell"], row["estimator"]): row for row in summary["beyond"]["rows"]}
    # smaller teams are named by their size, of five; here there are two agents
    assert set(rows) == {
        (cell, name) for cell, name, _ in ROWS if cell in (*QUICK, *RIVALS) and "_of_5" not in name and name != "3_of_5"
    }
    assert set(QUICK) == {cell for cell, _ in rows} - {"joint_regression"} | {"intervals"}
    fused = rows["fusion", "fused"]
    for row in rows.values():
        if row is not fused:
            difference = fused["psnr"]["test"] - row["psnr"]["test"]
            assert row["fusion_above"]["decibels"] == pytest.approx(difference, abs=2e-4)
    for equal in ("chain", "singly", "joint_tuned_of_equal_weights", "latent_diffusion"):
        assert rows[equal, next(name for cell, name in rows if cell == equal)]["parameters"] == pytest.approx(
            fused["parameters"], rel=0.05
        )
    # the square is convex: a mean errs less than what it is the mean of
    for cell, mean, one in (("singly", "mean", "individual"), ("latent_diffusion", "mean_of_samples", "samples")):
        assert rows[cell, mean]["psnr"]["test"] > rows[cell, one]["psnr"]["test"]
    # what each agent says better than the mean of training, all of them say better still
    assert rows["singly", "product"]["psnr"]["test"] > rows["singly", "individual"]["psnr"]["test"]
    assert rows["ridge", "joint"]["psnr"]["test"] > rows["ridge", "individual"]["psnr"]["test"]
    # composite diffusion's denoiser is the default column's, trained by the same steps from the same key
    paper = {(row["cell"], row["estimator"]): row for row in summary["rows"]}["denoiser", "composite"]
    assert rows["composite_samples", "composite"]["parameters"] == paper["parameters"]
    assert len({rows[name, "fused"]["psnr"]["test"] for name in (*ABLATIONS, "fusion")}) == 4


@pytest.mark.slow
def test_samples_are_scored_and_fusion_stands_in_other_columns(swept):
    _, _, summary = swept
    scores = {row["title"]: row for row in summary["beyond"]["scores"]}
    assert len(scores) == 2 and all(row["energy"] > 0 and row["variogram"] > 0 for row in scores.values())
    assert all(0 < row["crps"] < row["energy"] and 0 < row["tarp_gap"] < 1 for row in scores.values())
    assert [(one["panel"], one["value"]) for one in summary["beyond"]["columns"]] == [("samples", 10), ("samples", 300)]
    few, default = summary["beyond"]["columns"]
    assert few["train"] > default["train"] and few["test"] < default["test"]
    told = {(column["panel"], column["value"]): column["psnr"]["test"]["composite"] for column in summary["columns"]}
    assert few["composite"] == told["samples", 10] and default["composite"] == told["samples", 300]


@pytest.mark.slow
def test_joint_samples_are_of_the_team_and_their_mean_errs_less(swept, tmp_path):
    """Also marginals' samples, whose mean is the fused one but for the scatter of sixteen."""
    out, _, _ = swept
    for name in ("policies", "data"):
        (tmp_path / name).symlink_to(out / name)
    training = replace(SETTINGS.training, steps=60)
    settings = replace(SETTINGS, beyond=("joint_samples",), training=training, num_histories=20)
    (cell,) = [cell for cell in EXPERIMENT.cells(settings, 0) if cell.group == "joint_samples"]
    found = cell.compute(Workspace(tmp_path, tmp_path / "scratch", False, quiet))
    psnr, scores = found["test"]["psnr"], found["scores"]
    assert set(scores) == {"samples", "marginals", "samples_1_of_2", "marginals_1_of_2"}
    for name, score in scores.items():
        assert psnr[f"mean_of_{name}"] > psnr[name] and score["energy"] > 0 and score["variogram"] > 0
    assert psnr["mean_of_marginals"] > psnr["mean_of_marginals_1_of_2"]
    assert found["train_seconds"] > found["curves"][0]["seconds"]


@pytest.mark.slow
def test_intervals_are_taken_and_judged_on_episodes_of_their_own(swept):
    out, _, summary = swept
    found = result_of(out / "intervals-seed0.json")
    assert found["episodes"] == {"calibration": 40, "test": 20}
    fresh = Episodes.load(out / "data" / f"{BATTLE.name}-intervals")
    assert fresh.num_episodes == 60 and sum(found["steps"].values()) == fresh.num_steps
    assert set(found["coverage"]) == {"1", "2"} and summary["beyond"]["intervals"]["coverage"] == found["coverage"]
    # 40 episodes of a few steps each do not say more
    assert all(
        abs(share - float(level)) < 0.2 for shares in found["coverage"].values() for level, share in shares.items()
    )


@pytest.mark.slow
def test_rates_are_tried_once_and_the_best_is_taken(swept):
    out, _, _ = swept
    tuned = [path.stem.removesuffix("-seed0") for path in out.glob("*.json") if "trials" in path.read_text()]
    untuned = {"fusion", "joint_of_equal_weights", "ridge", "joint_samples", "composite_samples", "intervals"}
    assert sorted(tuned) == sorted(set(BEYOND) - untuned - set(ABLATIONS))
    for name in tuned:
        cell = result_of(out / f"{name}-seed0.json")
        assert cell["trials"] == json.loads((out / "trials" / f"{name}.json").read_text())["trials"]
        errors = {trial["learning_rate"]: trial["validation"] for trial in cell["trials"]}
        assert list(errors) == pytest.approx([4e-3, 8e-3, 16e-3])
        assert cell["learning_rate"] == min(errors, key=lambda rate: errors[rate])
        assert cell["best_step"] in (100, 200, 300)
    played = battle_episodes(SETTINGS.worlds, BATTLE, out, quiet)
    workspace = Workspace(out, out / "scratch", False, quiet)
    assert (
        rate_trials("chain", chain, SETTINGS, SETTINGS.default, played, workspace)
        == result_of(out / "chain-seed0.json")["trials"]
    )
    with pytest.raises(MismatchError, match=r"num_histories|\(100, not 50\)"):
        rate_trials("chain", chain, replace(SETTINGS, num_histories=50), SETTINGS.default, played, workspace)


@pytest.mark.slow
def test_episodes_keep_their_numbers_so_that_seeds_can_share_them(swept, episodes):
    out, _, _ = swept
    kept = EpisodeErrors.from_json(result_of(out / "ridge-seed0.json")["test"]["episodes"])
    steps = divide(episodes, SETTINGS.worlds, 300, 2, seed=0).test_steps(SETTINGS.num_histories, 0)
    assert np.array_equal(kept.ids, np.unique(np.asarray(episodes.episode_of_step)[steps]))


def test_slow_rivals_have_seeds_of_their_own_which_no_cell_depends_on():
    default = EXPERIMENT.presets["laptop"]
    settings = replace(default, beyond_seeds=3, rival_seeds=1)
    cells = [cell for cell in EXPERIMENT.cells(settings, 5) if cell.group in BEYOND]
    assert [cell.name for cell in cells[: len(BEYOND)]] == [f"{name}-seed5" for name in BEYOND]
    assert [cell.name for cell in cells[len(BEYOND) :]] == [
        f"{name}-seed{seed}" for seed in (6, 7) for name in BEYOND if name not in FEW_SEEDS
    ]
    kept = {cell.name: jsonable(cell.settings) for cell in EXPERIMENT.cells(default, 5)}
    assert all(jsonable(cell.settings) == kept[cell.name] for cell in cells)
    assert not any("seeds" in name for name in kept["fusion-seed5"][0] if name != "num_seeds")
    elsewhere = {cell.group for cell in EXPERIMENT.cells(default, 5) if cell.group.startswith("fusion-")}
    assert len(elsewhere) == 7  # of ten settings; fusion's width is its own


@pytest.mark.slow
def test_a_cell_of_before_an_estimator_was_added_is_read_without_it(swept, tmp_path):
    out, _, summary = swept
    for path in out.glob("*-seed0.json"):
        (tmp_path / path.name).write_text(path.read_text())
    path = tmp_path / f"{SETTINGS.default.name}-seed0.json"
    kept = json.loads(path.read_text())
    del kept["result"]["test"]["psnr"]["composite_averaged"]
    path.write_text(json.dumps(kept))
    rows = run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet).summary["rows"]
    assert rows == [row for row in summary["rows"] if row["estimator"] != "composite_averaged"]


@pytest.mark.slow
def test_what_the_smallest_preset_shows(swept):
    _, _, summary = swept
    columns = {(column["panel"], column["value"]): column for column in summary["columns"]}
    default = columns["width", 32]
    assert default["gap"]["train"]["shown"] == "higher"
    few = columns["samples", 10]
    assert few["psnr"]["train"]["composite"] > default["psnr"]["train"]["composite"]
    assert few["psnr"]["test"]["composite"] < default["psnr"]["test"]["composite"]
    common = summary["common"]
    assert 0 < common["common_share"] < 1 and len(common["psnr"]) == len(common["psnr_given"]) == SETTINGS.num_sweeps
    assert common["psnr_given"][0] > common["psnr"][0]


@pytest.mark.slow
def test_every_table_says_what_nobody_sees(swept, episodes):
    out, _, summary = swept
    share = float(unseen_share(SETTINGS.worlds.problem(BATTLE), episodes.states[:]))
    assert 0 < share < 1
    assert all(column["world"]["unseen_share"] == pytest.approx(share) for column in summary["columns"])
    text = (out / "table1.md").read_text()
    assert (
        text.count("not collectively observable") == 2 and "Common information" in text and f"| {share:.0%} |" in text
    )
    pictures = [out / f"{name}.{kind}" for name in ("table1", "beside") for kind in ("svg", "png")]
    assert all(path.stat().st_size > 10_000 for path in pictures)


@pytest.mark.slow
def test_parts_share_nothing_and_columns_share_their_test_steps(episodes):
    settings = SETTINGS.worlds
    one, more, longer = (divide(episodes, settings, *sizes, seed=0) for sizes in ((10, 1), (300, 1), (300, 2)))
    ids = [set(part.episode_ids.tolist()) for part in (more.pool, more.validation, more.test)]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    assert set().union(*ids) == set(range(episodes.num_episodes))
    for part in (more.validation, more.test):
        lengths = np.bincount(episodes.episode_of_step)[part.episode_ids]
        assert settings.held_out <= part.num_steps < settings.held_out + lengths.max()
    assert np.unique(more.train.steps).size == 300 and set(one.train.steps.tolist()) < set(more.train.steps.tolist())
    assert set(more.train.episode_ids.tolist()) <= ids[0]
    for other in (one, longer):
        assert np.array_equal(more.test_steps(20, 0), other.test_steps(20, 0))
    assert not np.array_equal(more.test.steps, divide(episodes, settings, 300, 1, seed=1).test.steps)
    assert np.array_equal(one.history_range, more.history_range)
    with pytest.raises(InputError, match="time steps to train on"):
        divide(episodes, settings, 10_000, 1, seed=0)


@pytest.mark.slow
def test_a_policy_of_another_problem_is_refused(swept):
    out, _, _ = swept
    other = replace(SETTINGS.worlds, num_steps=19)
    with pytest.raises(MismatchError, match=r"trained in another problem: they differ in num_steps \(20, not 19\)"):
        battle_episodes(other, BATTLE, out, quiet)


def test_errors_are_paired_within_one_collection_of_episodes():
    """By its fingerprint; cells of before it was kept are told apart by what else is known."""
    here = {"fingerprint": "9 episodes, 90 steps, 0a0b0c0d", "steps_per_episode": 10.0}
    there = {"fingerprint": "9 episodes, 90 steps, 0d0c0b0a", "steps_per_episode": 10.0}
    before, other = {"steps_per_episode": 10.0}, {"steps_per_episode": 10.1}
    assert not differences_of_worlds(here, dict(here)) and not differences_of_worlds(here, before)
    assert "fingerprint" in differences_of_worlds(here, there) and "10.1" in differences_of_worlds(here, other)
    errors = {"counts": [1, 2], "means": {"composite": [1.0, 1.0], "best_step": [2.0, 2.0]}}
    ours, theirs = ({"world": world, "test": {"episodes": errors}} for world in (here, there))
    assert _above([(ours, ours)], "best_step")["decibels"] == pytest.approx(10 * np.log10(2))
    with pytest.raises(MismatchError, match="judged on different episodes.*fingerprint"):
        _above([(ours, theirs)], "best_step")
    assert _fusion_above({0: ours}, {0: theirs}, "best_step", {}) is None


def test_fourteen_columns_from_ten_settings():
    for name in ("laptop", "paper"):
        columns = columns_of(EXPERIMENT.presets[name])
        settings = [setting for panel in columns.values() for setting in panel]
        assert len(settings) == 14 and len(set(settings)) == 10
        assert settings.count(EXPERIMENT.presets[name].default) == 5
    for split in PAPER.values():
        for panel, values in columns.items():
            assert [len(numbers[panel]) for numbers in split.values()] == [len(values)] * 2


def test_the_papers_columns_stand_beside_ours():
    assert [paper_place("samples", value, place, 3) for place, value in enumerate((10, 10_000, 100_000))] == [0, 1, 2]
    assert [paper_place("width", value, place, 2) for place, value in enumerate((8, 32))] == [0, 2]
    assert paper_place("sight", 9, 0, 1) == 1


@pytest.mark.slow
def test_figure_2_analyses_the_same_battles(swept, episodes):
    """The pairs of some of the training steps, each anchor's widest neighbourhood all of them."""
    out, _, _ = swept
    smoke = figure2_battles.PRESETS["smoke"]
    few = replace(smoke.analysis, num_anchors=4, num_shifts=8, num_joint=2, conformal_episodes=6)
    settings = replace(smoke, num_steps=80, analysis=few)
    found = figure2_battles.compute(settings, 0, Workspace(out, out / "scratch", False, quiet))
    steps = divide(episodes, settings.worlds, 80, settings.setting.length, 0).train
    assert found["pairs"]["pairs"] == len(distinct_pairs(steps).states)
    widest = found["surrogate"]["epsilons"][-1]
    assert widest["quantile"] == 1.0 and widest["neighbours"] == found["pairs"]["pairs"]
    assert found["world"] == battle_episodes(SETTINGS.worlds, BATTLE, out, quiet).facts
    assert found["world"]["fingerprint"] == fingerprint(episodes)
    assert max(found["drawn"]["deviations"]) <= found["pairs"]["deviation"]["max"] * 1.001  # written with four digits
