"""Cells are computed once, refuse other settings, and are never half there."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from composite_flow.errors import FileError, MismatchError
from composite_flow.files.plain_json import jsonable, read_json, write_json
from composite_flow.training.config import TrainingConfig
from composite_flow_paper.shared.cells import cell


@dataclass(frozen=True)
class Settings:
    size: int = 3


def test_a_cell_is_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"value": np.float32(0.5), "rows": np.arange(3)}

    first = cell(tmp_path / "a.json", Settings(), compute)
    second = cell(tmp_path / "a.json", Settings(), compute)
    assert first == second == {"value": 0.5, "rows": [0, 1, 2]}
    assert len(calls) == 1
    cell(tmp_path / "a.json", Settings(), compute, overwrite=True)
    assert len(calls) == 2


def test_other_settings_are_refused_and_the_file_stays(tmp_path):
    cell(tmp_path / "a.json", Settings(), lambda: {"value": 1})
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(MismatchError, match="other settings"):
        cell(tmp_path / "a.json", Settings(size=4), lambda: {"value": 2})
    assert (tmp_path / "a.json").read_bytes() == before


def test_a_failed_computation_leaves_nothing(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cell(tmp_path / "a.json", Settings(), interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cell_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"settings": ')
    with pytest.raises(FileError, match="a.json is not a readable JSON file"):
        cell(tmp_path / "a.json", Settings(), lambda: {})


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"worst": float("inf"), "lost": np.nan})
    assert read_json(tmp_path / "a.json") == {"worst": None, "lost": None}
    assert json.loads(json.dumps(jsonable((1, np.int32(2))))) == [1, 2]


def test_a_setting_that_came_later_leaves_older_results_valid():
    before = jsonable({"training": TrainingConfig(width=8)})["training"]
    assert "precision" not in before and before["width"] == 8 and before["steps"] is None
    assert jsonable(TrainingConfig(precision="bfloat16"))["precision"] == "bfloat16"
