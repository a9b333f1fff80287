"""Table 1's smallest preset: its numbers, a sweep that was killed, what each column is trained and tested on."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from composite_flow.data import Episodes
from composite_flow.data.pairs import distinct_pairs
from composite_flow.errors import InputError, MismatchError
from composite_flow.files.plain_json import jsonable
from composite_flow.problems import unseen_share
from composite_flow_paper.figure2 import battles as figure2_battles
from composite_flow_paper.shared.paired_error import EpisodeErrors, paired_gap
from composite_flow_paper.table1 import experiment as table1
from composite_flow_paper.table1 import plot as table1_plot
from composite_flow_paper.table1.report import PAPER, markdown, paper_place
from composite_flow_paper.table1.worlds import Worlds, divide

# One width, one length and no plain network, as each more means to compile all of it again.
RIVALS = ("stronger", "joint_regression", "variational")
SETTINGS = replace(table1.PRESETS["smoke"], width=(32,), length=(2,), rivals=RIVALS)
WORLD = SETTINGS.default.world
TIMES = ("train_seconds",)


def quiet(message):
    """Progress that nobody reads."""


class Killed(Exception):
    """What ends a sweep in the midst of a cell."""


pytestmark = pytest.mark.usefixtures("permissive")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep killed in its second cell, the summary that it left, and the result of the sweep that went on."""
    out = tmp_path_factory.mktemp("table1")

    def kill(message):
        if message.startswith("training: step 200"):
            raise Killed

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        with pytest.raises(Killed):
            table1.run(SETTINGS, out, seed=0, overwrite=False, progress=kill)
        left = json.loads((out / "summary.json").read_text())
        return out, left, table1.run(SETTINGS, out, seed=0, overwrite=False, progress=quiet)["summary"]


@pytest.fixture(scope="module")
def episodes(swept):
    return Episodes.load(swept[0] / "data" / WORLD.name)


def result_of(path):
    """A cell's result, without what the clock says."""
    return {name: value for name, value in json.loads(path.read_text())["result"].items() if name not in TIMES}


@pytest.mark.slow
def test_a_killed_sweep_leaves_the_summary_of_what_is_done(swept):
    _, left, summary = swept
    assert left["cells"] == {"done": 1, "planned": 5} and summary["cells"] == {"done": 5, "planned": 5}
    assert [row["cell"] for row in left["rows"]] == ["denoiser"] * 7
    done = [column for column in left["columns"] if column["seeds"]]
    assert {column["setting"] for column in done} == {SETTINGS.default.name}
    assert "(1 of 5 cells)" in markdown(left) and "| – |" in markdown(left)
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
    table1.run(SETTINGS, tmp_path, seed=0, overwrite=False, progress=quiet)
    for name in names:
        assert result_of(tmp_path / name) == result_of(out / name)


@pytest.mark.slow
def test_jobs_train_the_teams_of_missing_cells_alone(swept, tmp_path, monkeypatch):
    """With the episodes there, or without them where every cell is there, nobody has to learn."""
    out, _, _ = swept
    asked = []
    monkeypatch.setattr(table1, "side_by_side", lambda work, worlds, jobs, progress: asked.append((worlds, jobs)) or [])
    table1.run(SETTINGS, out, seed=0, overwrite=False, progress=quiet, jobs=2)
    for path in out.glob("*-seed0.json"):
        (tmp_path / path.name).write_text(path.read_text())
    table1.run(SETTINGS, tmp_path, seed=0, overwrite=False, progress=quiet, jobs=2)
    (tmp_path / "stronger-seed0.json").unlink()
    monkeypatch.setattr(table1, "compute_rival", lambda *_, **__: {})
    monkeypatch.setattr(table1, "summarise", lambda *_: {})
    monkeypatch.setattr(table1, "markdown", lambda _: "")
    table1.run(SETTINGS, tmp_path, seed=0, overwrite=False, progress=quiet, jobs=3)
    assert asked == [([], 2), ([], 2), ([WORLD], 3)]


@pytest.mark.slow
def test_nothing_is_computed_twice_and_other_settings_are_refused(swept, monkeypatch):
    out, _, summary = swept

    def refuse(*_, **__):
        raise AssertionError("a cell that is there is not computed again")

    monkeypatch.setattr(table1, "compute", refuse)
    monkeypatch.setattr(table1, "compute_rival", refuse)
    again = table1.run(SETTINGS, out, seed=0, overwrite=False, progress=quiet)
    assert jsonable(again["summary"]) == jsonable(summary)
    # fewer columns need no other cells
    fewer = replace(SETTINGS, samples=(300,), rivals=("stronger",))
    assert table1.run(fewer, out, seed=0, overwrite=False, progress=quiet)["summary"]["cells"]["done"] == 2
    with pytest.raises(MismatchError, match="other settings"):
        table1.run(replace(SETTINGS, num_histories=50), out, seed=0, overwrite=False, progress=quiet)


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
        assert paired_gap(errors, "individual", "composite")["decibels"] == pytest.approx(
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
def test_a_cell_of_before_an_estimator_was_added_is_read_without_it(swept, tmp_path):
    out, _, summary = swept
    for path in out.glob("*-seed0.json"):
        (tmp_path / path.name).write_text(path.read_text())
    path = tmp_path / f"{SETTINGS.default.name}-seed0.json"
    kept = json.loads(path.read_text())
    del kept["result"]["test"]["psnr"]["composite_averaged"]
    path.write_text(json.dumps(kept))
    rows = table1.run(SETTINGS, tmp_path, seed=0, overwrite=False, progress=quiet)["summary"]["rows"]
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
    share = float(unseen_share(SETTINGS.worlds.problem(WORLD), episodes.states[:]))
    assert 0 < share < 1
    assert all(column["world"]["unseen_share"] == pytest.approx(share) for column in summary["columns"])
    text = (out / "table1.md").read_text()
    assert (
        text.count("not collectively observable") == 2 and "Common information" in text and f"| {share:.0%} |" in text
    )
    assert all(path.stat().st_size > 10_000 for path in table1_plot.draw({"summary": jsonable(summary)}, out))


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
        Worlds(other, out, quiet)[WORLD]


def test_fourteen_columns_from_ten_settings():
    for name in ("laptop", "paper"):
        columns = table1.columns_of(table1.PRESETS[name])
        settings = [setting for panel in columns.values() for setting in panel]
        assert len(settings) == 14 and len(set(settings)) == 10
        assert settings.count(table1.PRESETS[name].default) == 5
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
    few = replace(smoke.analysis, num_anchors=4, num_shifts=8, num_joint=2, num_splits=2)
    settings = replace(smoke, num_steps=80, analysis=few)
    found = figure2_battles.computing(settings, out, quiet)(settings, 0, quiet)
    steps = divide(episodes, settings.worlds, 80, settings.setting.length, 0).train
    assert found["pairs"]["pairs"] == len(distinct_pairs(steps).states)
    widest = found["surrogate"]["epsilons"][-1]
    assert widest["quantile"] == 1.0 and widest["neighbours"] == found["pairs"]["pairs"]
    assert found["world"] == Worlds(SETTINGS.worlds, out, quiet)[WORLD].facts
    assert max(found["drawn"]["deviations"]) <= found["pairs"]["deviation"]["max"] * 1.001  # written with four digits
