"""Units of features travel from the data through `fit` to models, and stand where errors are told."""

import json

import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.cli.error_tables import error_tables


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    states, ends = random.random((120, 2)), np.arange(120) % 3 == 2
    episodes = cf.Episodes.from_arrays(
        observations=random.random((120, 1, 2)),
        states=states,
        actions=None,
        ends=ends,
        state_names=["x", "speed"],
        units={"x": "m"},
    )
    episodes.save(tmp_path / "data")
    return tmp_path / "data"


def test_units_travel_with_the_model(data, tmp_path, capsys, key):
    episodes = cf.Episodes.load(data)
    train, validation, _ = cf.HistoryDataset(episodes).split(key=key)
    model = cf.fit(train, validation, cf.TrainingConfig(width=4, depth=1, steps=2), key=key, progress=False)
    assert model.description["units"] == {"x": "m"}
    model.save(tmp_path / "run")
    for folder in (data, tmp_path / "run"):
        assert cli.main(["inspect", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["units"] == {"x": "m"}


def test_errors_are_told_in_their_units():
    told = {"composite": {"median": 1.0, "q90": 2.0, "q99": 3.0}}
    errors = {
        "numbers": {"x": told, "speed": told},
        "wrong": {},
        "covered": {},
        "half_widths": {},
        "wide_half_widths": {},
    }
    (table,) = error_tables({"errors": errors, "units": {"x": "m"}, "episodes": 2})
    assert list(table.columns[0].cells) == ["x (m)", "speed"]
