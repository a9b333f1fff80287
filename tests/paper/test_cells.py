"""Cells are computed once, refuse other settings, and are never half there."""

import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from composite_flow.errors import FileError, MismatchError
from composite_flow.files.plain_json import jsonable, read_json, write_json
from composite_flow.training.config import TrainingConfig
from composite_flow_paper.shared.cells import Cell, read_cell, write_cell

OPTIONS = {"overwrite": False, "progress": lambda message: None}


@dataclass(frozen=True)
class Settings:
    size: int = 3


def arrays(workspace):
    """A result with arrays, which leaves something in the scratch folder."""
    workspace.scratch.mkdir()
    (workspace.scratch / "half").touch()
    return {"value": np.float32(0.5), "rows": np.arange(3)}


def interrupted(left, workspace):
    """As a training that was killed: what it has saved stays."""
    left.append(workspace.scratch.exists())
    workspace.scratch.mkdir(exist_ok=True)
    raise KeyboardInterrupt


def cell(settings=Settings(), compute=arrays):  # noqa: B008 (frozen)
    return Cell("a", 0, settings, compute)


def test_a_cell_is_read_as_it_was_computed(tmp_path):
    assert read_cell(cell(), tmp_path) is None
    write_cell(cell(), tmp_path, **OPTIONS)
    assert read_cell(cell(), tmp_path) == {"value": 0.5, "rows": [0, 1, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["a-seed0.json"]
    kept = read_json(tmp_path / "a-seed0.json")
    assert kept["settings"] == {"size": 3} and {"cores", "device", "versions"} <= set(kept["machine"])


def test_other_settings_are_refused_and_the_file_stays(tmp_path):
    write_cell(cell(), tmp_path, **OPTIONS)
    before = (tmp_path / "a-seed0.json").read_bytes()
    with pytest.raises(MismatchError, match=r"other settings: size \(3, not 4\)"):
        read_cell(cell(Settings(size=4)), tmp_path)
    assert (tmp_path / "a-seed0.json").read_bytes() == before


def test_what_an_interrupted_cell_saved_is_there_unless_all_is_done_anew(tmp_path):
    found: list[bool] = []
    stopped = cell(compute=partial(interrupted, found))
    for overwrite in (False, False, True):
        with pytest.raises(KeyboardInterrupt):
            write_cell(stopped, tmp_path, overwrite=overwrite, progress=lambda message: None)
        assert read_cell(stopped, tmp_path) is None
    assert found == [False, True, False]


def test_a_damaged_cell_is_named(tmp_path):
    (tmp_path / "a-seed0.json").write_text('{"settings": ')
    with pytest.raises(FileError, match="a-seed0.json is not a readable JSON file"):
        read_cell(cell(), tmp_path)


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"worst": float("inf"), "lost": np.nan})
    assert read_json(tmp_path / "a.json") == {"worst": None, "lost": None}
    assert json.loads(json.dumps(jsonable((1, np.int32(2))))) == [1, 2]


def test_a_setting_that_came_later_leaves_older_results_valid():
    before = jsonable({"training": TrainingConfig(width=8)})["training"]
    assert "precision" not in before and before["width"] == 8 and before["steps"] is None
    assert jsonable(TrainingConfig(precision="bfloat16"))["precision"] == "bfloat16"
