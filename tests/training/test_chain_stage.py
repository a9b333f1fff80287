"""The gated chain as a part of a model: learned as if alone, resumed to the same bits, refused where it cannot be."""

import dataclasses
import json
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_sensors import assert_same, four_sensors, left_at

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.runs import RunSettings, start_or_resume
from composite_flow.training import stages
from composite_flow.training.fit import fit
from composite_flow.training.interrupt import interrupt_flag
from composite_flow.training.run import TrainingData, TrainingRun
from composite_flow.training.stages import CHAIN_FILE

pytestmark = pytest.mark.slow

CONFIG = cf.TrainingConfig(
    learn="fusion",
    chain=True,
    team_denoiser=False,
    width=16,
    depth=2,
    batch=32,
    steps=60,
    record_every=20,
    evaluate_every=40,
    checkpoint_seconds=0.0,
    learning_rate=4e-3,
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


def test_it_is_learned_as_if_alone_and_changes_nothing_else(data, model):
    run = TrainingRun(TrainingData(*data, CONFIG, None), "chain", CONFIG, KEY, None, None, {})
    run.prepare(resume=False)
    with interrupt_flag() as interrupted:
        run.train(None, None, None, interrupted)
    assert_same(model.chain, run.network)
    without = learned(data, dataclasses.replace(CONFIG, chain=False))
    assert without.chain is None
    assert_same(model.answers, without.answers)
    assert list(without.curves) == [
        {**point, "seconds": without.curves[k]["seconds"]} for k, point in enumerate(model.curves[:3])
    ]


def test_its_key_is_its_own_and_never_changes(data):
    limits = jnp.zeros(7), jnp.ones(7)
    chain, answers = (stages.stage_of(name, data[0], CONFIG, limits, 4, {}) for name in ("chain", "answers"))
    assert (chain.number, answers.number) == (2**32 - 5, 2**32 - 3) and chain.file == "training-chain.safetensors"


def test_its_curve_tells_how_good_teams_are(model):
    first, *_, last = model.curves[3:]
    assert last["step"] == 60 and last["speaking"] == 1.0
    assert last["psnr_chain"] > last["psnr_chain_of_2"] > last["psnr_chain_of_1"]
    assert last["validation_loss"] < first["validation_loss"] and last["exact_rate_chain"] >= first["exact_rate_chain"]


def test_it_starts_at_the_mean_of_the_training_states(data, model):
    states = data[0].joint(data[0].steps).states
    np.testing.assert_allclose(model.chain.prior_mean, jnp.mean(states, axis=0), rtol=1e-5)


@pytest.mark.parametrize("stop", [60, 85])
def test_training_that_ends_within_it_resumes_to_the_same_bits(tmp_path, data, model, stop):
    left_at(stop, 120, partial(learned, data, folder=tmp_path))
    resumed = learned(data, folder=tmp_path, resume=True)
    assert_same(resumed.fusion, model.fusion)


def test_it_is_added_to_a_finished_run_and_stays(tmp_path, data, model):
    plain = dataclasses.replace(CONFIG, chain=False)
    learned(data, plain, folder=tmp_path)
    assert not (tmp_path / CHAIN_FILE).exists()
    learned(data, folder=tmp_path, resume=True)
    assert (tmp_path / CHAIN_FILE).exists()
    again = learned(data, plain, folder=tmp_path, resume=True)  # without a word of it
    for found in (again, cf.load(tmp_path)):
        assert_same(found.fusion, model.fusion)
    learned(data, plain, folder=tmp_path, overwrite=True)
    assert not (tmp_path / CHAIN_FILE).exists() and cf.load(tmp_path).chain is None


def test_data_larger_than_memory(tmp_path, data, model):
    train, validation = four_sensors(tmp_path / "data")
    config = dataclasses.replace(CONFIG, evaluate_every=20, resident_gigabytes=5e-6)
    found = fit(train, validation, config, key=KEY, progress=False)
    assert found.curves[-1]["psnr_chain"] > found.curves[3]["psnr_chain"]
    assert not np.array_equal(found.chain.message_bias, model.chain.message_bias)


def test_dead_units_are_noticed_and_told(data, monkeypatch):
    def dead(*arguments, **options):
        network = ChainNetwork(*arguments, **options)
        return eqx.tree_at(lambda n: n.biases, network, jnp.full_like(network.biases, -100.0))

    monkeypatch.setattr(stages, "ChainNetwork", dead)
    other = dataclasses.replace(CONFIG, width=12)  # compiled functions know the other class
    with pytest.warns(UserWarning, match="At step 20 no agent changes the chain's message.*Lower learning_rate"):
        found = learned(data, other)
    assert found.curves[-1]["speaking"] == 0.0


def test_progress_counts_the_steps_that_each_stage_plans(data):
    told = []
    config = dataclasses.replace(CONFIG, learn="both", steps=30, fusion_steps=10, record_every=10, evaluate_every=10)
    learned(data, config, progress=lambda step, planned, loss: told.append((step, planned)))
    steps, planned = zip(*told, strict=True)
    assert set(planned) == {30 + 10 + 10} and list(steps) == sorted(steps) and steps[-1] == 50


def test_without_fusion_it_is_refused_before_anything_is_written(tmp_path, data):
    alone = dataclasses.replace(CONFIG, learn="denoiser")
    with pytest.raises(InputError, match='beside fusion: set learn to "fusion" or "both"'):
        learned(data, alone, folder=tmp_path / "a")
    with pytest.raises(InputError, match="beside fusion"):
        start_or_resume(tmp_path / "a", RunSettings(alone), resume=False, overwrite=False)
    assert not (tmp_path / "a").exists()
    denoiser = RunSettings(dataclasses.replace(alone, chain=False))
    start_or_resume(tmp_path / "b", denoiser, resume=False, overwrite=False)
    with pytest.raises(InputError, match="beside fusion"):
        start_or_resume(tmp_path / "b", RunSettings(alone), resume=True, overwrite=False)
    assert json.loads((tmp_path / "b" / "run.json").read_text())["chain"] is False
    both = RunSettings(dataclasses.replace(alone, learn="both"))
    assert start_or_resume(tmp_path / "b", both, resume=True, overwrite=False).training.stages[-1] == "chain"
