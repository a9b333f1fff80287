"""The runner computes each cell once, in any number of processes; every experiment keeps the contract."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from toy_experiment import EXPERIMENT, NAMES, SETTINGS, SUMS, notes

import composite_flow_paper
from composite_flow.errors import InputError, MismatchError
from composite_flow.files.plain_json import jsonable, read_json
from composite_flow_paper import experiments
from composite_flow_paper.experiment import load_experiment, run, tables_in_markdown
from composite_flow_paper.process_pool import processes
from composite_flow_paper.shared.cells import read_cell

COMMITTED = Path(__file__).parents[2] / "docs" / "results"


def quiet(message):
    """Progress that nobody reads."""


def results_in(folder):
    """The result of each cell of a folder."""
    return {path.stem: read_json(path)["result"] for path in folder.glob("*-seed*.json")}


# --- the runner


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_cell_is_computed_once_after_what_it_needs(tmp_path, jobs):
    result = run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet, execute=processes(jobs))
    done, by = notes(tmp_path)
    assert done[0] == "prepared" and sorted(done[1:]) == sorted(NAMES) and len(by) == (1 if jobs == 1 else 5)
    assert result.summary == {"sums": SUMS} == read_json(tmp_path / "summary.json")
    assert list(result.cells) == list(SUMS)  # in their order, whichever was done first
    assert (tmp_path / "toy.txt").read_text() == "▇▇"
    assert (tmp_path / "toy.md").read_text().startswith("Sums\n")
    run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet, execute=processes(jobs))
    assert notes(tmp_path)[0] == done


def test_an_interrupt_leaves_what_is_done_and_the_same_call_goes_on(tmp_path):
    (tmp_path / "stop-term2-seed1").touch()
    with pytest.raises(KeyboardInterrupt):
        run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet)
    assert set(results_in(tmp_path)) == set(NAMES[:2])
    assert read_json(tmp_path / "summary.json") == {"sums": {"term2": [12], "term3": [13]}}
    assert (tmp_path / "toy.md").read_text().startswith("So far 2 of 4 cells.\n\nSums\n")
    (tmp_path / "stop-term2-seed1").unlink()
    assert run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet).summary == {"sums": SUMS}
    assert notes(tmp_path)[0] == ["prepared", *NAMES[:3], *NAMES[2:]]


def test_more_seeds_and_terms_compute_only_what_is_new(tmp_path):
    run(EXPERIMENT, replace(SETTINGS, num_seeds=1), tmp_path, progress=quiet)
    run(EXPERIMENT, replace(SETTINGS, terms=(3, 4)), tmp_path, progress=quiet)
    assert notes(tmp_path)[0] == ["prepared", "term2-seed0", "term3-seed0", "term4-seed0", "term3-seed1", "term4-seed1"]


def test_other_settings_are_refused_before_anything_is_computed(tmp_path):
    run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet)
    (tmp_path / "term2-seed0.json").unlink()
    before = notes(tmp_path)
    with pytest.raises(MismatchError, match=r"other settings: 0.base \(10, not 11\)"):
        run(EXPERIMENT, replace(SETTINGS, base=11), tmp_path, progress=quiet)
    assert notes(tmp_path) == before
    (tmp_path / "base.txt").write_text("20")
    assert run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet, overwrite=True).summary["sums"]["term2"] == [22, 23]


def test_sentences_say_of_which_cell_they_are_where_there_are_several(tmp_path):
    told = []
    run(EXPERIMENT, SETTINGS, tmp_path, progress=told.append)
    assert told == [f"{name}, adding: begun" for name in NAMES]
    (tmp_path / "term3-seed1.json").unlink()
    run(EXPERIMENT, SETTINGS, tmp_path, progress=told.append)
    assert told[4:] == ["adding: begun"]


def test_a_failed_cell_is_told_in_its_own_words(tmp_path):
    (tmp_path / "fail-term3-seed0").touch()
    for jobs in (1, 2):
        with pytest.raises(InputError, match="3 cannot be added"):
            run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet, execute=processes(jobs))


# --- the contract


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_keeps_the_contract(name):
    experiment = load_experiment(name)
    assert experiment.name == name and experiments()[name].endswith(".")
    assert {"smoke", "laptop"} <= set(experiment.presets)
    with pytest.raises(InputError, match="smoke"):
        experiment.preset("none")
    for settings in experiment.presets.values():
        cells = experiment.cells(settings, 3)
        names = [cell.name for cell in cells]
        assert len(set(names)) == len(names) and all(cell.seed is None or cell.seed >= 3 for cell in cells)
        for cell in cells:
            again = pickle.loads(pickle.dumps(cell))  # so that other processes can compute it
            assert again.name == cell.name and jsonable(again.settings) == jsonable(cell.settings)
            assert json.loads(json.dumps(jsonable(cell.settings))) == jsonable(cell.settings)
        if hasattr(settings, "num_seeds"):
            fewer = {cell.name: cell for cell in experiment.cells(replace(settings, num_seeds=1), 3)}
            known = {cell.name: jsonable(cell.settings) for cell in cells}
            assert {one: jsonable(cell.settings) for one, cell in fewer.items()}.items() <= known.items()


@pytest.mark.parametrize("name", [name for name in experiments() if name != "demo"])
def test_every_experiment_sums_up_whatever_cells_are_there(name, tmp_path):
    """With the first cell that is committed, with every second one, and with the last."""
    experiment = load_experiment(name)
    settings, folder = experiment.presets["laptop"], COMMITTED / f"{name}-laptop"
    cells = [cell for cell in experiment.cells(settings, 0) if cell.path(folder).exists()]
    assert len(cells) > 1
    for some in (cells[:1], cells[::2], cells[-1:]):
        results = {}
        for cell in some:
            results.setdefault(cell.group, {})[cell.seed] = read_cell(cell, folder)
        summary = json.loads(json.dumps(jsonable(experiment.summarise(settings, results))))
        tables = experiment.tables(summary)
        assert tables and all(title and len(row) == len(header) for title, header, rows in tables for row in rows)


def test_a_folder_is_all_that_a_new_experiment_needs(tmp_path):
    """The command line lists it by its name, and the sentence that its package begins with."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Sums: what terms add up to."""\n')
    (folder / "experiment.py").write_text("from toy_experiment import EXPERIMENT\n\n__all__ = ['EXPERIMENT']\n")
    composite_flow_paper.__path__.append(str(tmp_path))
    try:
        assert experiments()["toy"] == "Sums: what terms add up to."
        found = load_experiment("toy")
    finally:
        composite_flow_paper.__path__.remove(str(tmp_path))
    assert found is EXPERIMENT and "toy" not in experiments()


def test_tables_say_how_many_cells_are_missing(tmp_path):
    result = run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet)
    assert tables_in_markdown(EXPERIMENT, result, 5).startswith("So far 4 of 5 cells.\n\nSums\n")
    assert tables_in_markdown(EXPERIMENT, result, 4).startswith("Sums\n")
