"""Filters as a part of a model: learned as if alone, resumed to the same bits, refused where they cannot be."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from four_sensors import assert_same, four_sensors, left_at, weights

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.training.fit import fit
from composite_flow.training.over_time_stage import over_time_file

pytestmark = pytest.mark.slow

CONFIG = cf.TrainingConfig(
    learn="fusion",
    over_time="residual",
    segment=3,
    lost=0.3,
    team_denoiser=False,
    width=12,
    depth=2,
    batch=32,
    steps=40,
    record_every=20,
    evaluate_every=40,
    checkpoint_seconds=0.0,
    average=0.9,
)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def data():
    return four_sensors()


def learned(data, config=CONFIG, **options):
    return fit(*data, config, key=KEY, **{"progress": False, **options})


@pytest.fixture(scope="module")
def model(data):
    return learned(data)


def test_it_changes_nothing_else_and_tells_how_good_it_is(data, model):
    without = learned(data, dataclasses.replace(CONFIG, over_time="none"))
    assert without.fusion.over_time is None
    assert_same(model.answers, without.answers)
    first, last = (point for point in model.curves if "psnr_over_time" in point)
    assert last["step"] == 40 and last["validation_loss"] < first["validation_loss"]


@pytest.mark.parametrize("stop", [45, 65])
def test_a_filter_that_ends_at_any_step_resumes_to_the_same_bits(tmp_path, data, model, stop):
    left_at(stop, 80, partial(learned, data, folder=tmp_path))
    assert_same(learned(data, folder=tmp_path, resume=True).fusion, model.fusion)


def test_a_filter_is_added_to_a_finished_run_and_another_kind_is_another_training(tmp_path, data, model):
    plain = dataclasses.replace(CONFIG, over_time="none")
    learned(data, plain, folder=tmp_path)
    learned(data, folder=tmp_path, resume=True)
    assert (tmp_path / over_time_file("residual")).exists()
    assert_same(learned(data, plain, folder=tmp_path, resume=True).fusion, model.fusion)  # it stays
    other = learned(data, dataclasses.replace(CONFIG, over_time="product"), folder=tmp_path, resume=True)
    assert type(other.fusion.over_time) is not type(model.fusion.over_time)
    learned(data, plain, folder=tmp_path, overwrite=True)
    assert not list(tmp_path.glob("*over-time*")) and cf.load(tmp_path).fusion.over_time is None


def test_a_filter_of_data_larger_than_memory(tmp_path, data, model):
    train, validation = four_sensors(tmp_path / "data")
    config = dataclasses.replace(CONFIG, evaluate_every=20, resident_gigabytes=5e-6)
    found = fit(train, validation, config, key=KEY, progress=False)
    assert "psnr_over_time" in found.curves[-1]
    assert not np.array_equal(weights(found.fusion.over_time)[0], weights(model.fusion.over_time)[0])


def test_faults_of_its_settings(data):
    with pytest.raises(InputError, match="setting over_time is learned beside fusion"):
        learned(data, dataclasses.replace(CONFIG, learn="denoiser"))
    for changes, sentence in (
        ({"lost": 1.0}, r"lost must lie in \[0, 1\)"),
        ({"alone": 1.5}, r"alone must lie in \[0, 1\]"),
        ({"segment": 0}, "segment must be positive"),
    ):
        with pytest.raises(InputError, match=sentence):
            dataclasses.replace(CONFIG, **changes)


def test_a_model_without_a_filter_says_which_command_adds_it(data):
    model = learned(data, dataclasses.replace(CONFIG, over_time="none", steps=2))
    with pytest.raises(InputError, match="learned no filter; .*--resume --over-time residual` adds it"):
        model.filter(data[0].joint(np.arange(3)).histories)
