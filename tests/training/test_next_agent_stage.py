"""Whom to ask as a part of a model: learned beside the rest, resumed to the same bits, refused where it cannot be."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_sensors import assert_same, four_sensors, left_at

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.runs import RunSettings, start_or_resume
from composite_flow.training import stages
from composite_flow.training.fit import fit
from composite_flow.training.next_agent_stage import MOST_STEPS, NEXT_AGENT_FILE

pytestmark = pytest.mark.slow

CONFIG = cf.TrainingConfig(
    learn="fusion",
    next_agent=True,
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


def test_it_changes_nothing_else_and_tells_what_it_is_worth(data, model):
    without = learned(data, dataclasses.replace(CONFIG, next_agent=False))
    assert without.fusion.next_agent is None
    assert_same(model.answers, without.answers)
    assert_same(model.fusion.next_agent.errors.prior, without.answers.prior)  # not trained
    *_, first, _, last = model.curves
    assert last["step"] == 60 and last["validation_loss"] < first["validation_loss"]
    assert 0 < last["error_with_named"] < last["error_with_anybody"]


def test_its_number_is_its_own_and_its_steps_are_few(data):
    limits, config = (jnp.zeros(7), jnp.ones(7)), dataclasses.replace(CONFIG, steps=1, next_agent=False)
    answers = learned(data, config).answers
    long = dataclasses.replace(CONFIG, steps=50_000, warmup=5_000)
    stage = stages.stage_of("next_agent", data[0], long, limits, 4, {"answers": answers})
    assert (stage.number, stage.file, stage.total) == (2**32 - 7, "training-next-agent.safetensors", MOST_STEPS)
    assert stage.config.warmup == MOST_STEPS // 10
    assert stages.planned_steps("next_agent", data[0], long) == MOST_STEPS
    assert stages.planned_steps("next_agent", data[0], CONFIG) == 60


@pytest.mark.parametrize("stop", [60, 85])
def test_whom_to_ask_that_ends_at_any_step_resumes_to_the_same_bits(tmp_path, data, model, stop):
    left_at(stop, 120, partial(learned, data, folder=tmp_path))
    assert_same(learned(data, folder=tmp_path, resume=True).fusion, model.fusion)


def test_whom_to_ask_is_added_to_a_finished_run_and_stays(tmp_path, data, model):
    plain = dataclasses.replace(CONFIG, next_agent=False)
    before = learned(data, plain, folder=tmp_path)
    histories = data[1].joint(data[1].steps[:1]).histories[0]
    with pytest.raises(InputError, match="learned no way to tell whom to ask; .*--resume --next-agent` adds it"):
        before.fuse(histories, [0]).next_agent()
    with pytest.raises(InputError, match="--resume --next-agent` adds it"):
        cf.load(tmp_path).ask(histories)
    assert not (tmp_path / NEXT_AGENT_FILE).exists()
    learned(data, folder=tmp_path, resume=True)
    again = learned(data, plain, folder=tmp_path, resume=True)  # without a word of it
    for found in (again, cf.load(tmp_path)):
        assert_same(found.fusion, model.fusion)
        assert found.fuse(histories, [0]).next_agent() == model.fuse(histories, [0]).next_agent()
    learned(data, plain, folder=tmp_path, overwrite=True)
    assert not (tmp_path / NEXT_AGENT_FILE).exists() and cf.load(tmp_path).fusion.next_agent is None


def test_whom_to_ask_from_data_larger_than_memory(tmp_path, data, model):
    train, validation = four_sensors(tmp_path / "data")
    config = dataclasses.replace(CONFIG, evaluate_every=20, resident_gigabytes=5e-6)
    found = fit(train, validation, config, key=KEY, progress=False)
    assert found.curves[-1]["error_with_named"] > 0
    assert not np.array_equal(found.fusion.next_agent.offsets, model.fusion.next_agent.offsets)


def test_whom_to_ask_is_refused_where_it_is_not_learned(tmp_path, data):
    alone = dataclasses.replace(CONFIG, learn="denoiser")
    with pytest.raises(InputError, match="setting next_agent is learned beside fusion"):
        learned(data, alone, folder=tmp_path / "a")
    with pytest.raises(InputError, match="beside fusion"):
        start_or_resume(tmp_path / "a", RunSettings(alone), resume=False, overwrite=False)
    many = cf.HistoryDataset(cf.collect(cf.SensorNetwork.grid(9, 9), 8, key=KEY))
    with pytest.raises(InputError, match="too large for the setting next_agent"):
        fit(many, None, CONFIG, key=KEY, progress=False, folder=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_trained_team_asks_who_sees_best_first_and_who_sees_nothing_last():
    """One number, seen by four agents with noise of precision 16, 4, 1 (the prior's) and 0."""
    precisions = np.array([1.0, 16.0, 0.0, 4.0])
    generator = np.random.default_rng(0)
    states = generator.normal(size=(4_000, 1)).astype(np.float32)
    noise = generator.normal(size=(4_000, 4)) / np.sqrt(np.maximum(precisions, 1e-3))
    seen = np.where(precisions > 0, states + noise, noise / 10).astype(np.float32)
    episodes = cf.Episodes.from_arrays(
        observations=seen[:, :, None],
        actions=np.zeros((len(states), 4), int),
        states=states,
        ends=np.ones(len(states), bool),
    )
    train, validation, _ = cf.HistoryDataset(episodes).split(key=KEY)
    config = dataclasses.replace(CONFIG, width=32, batch=256, steps=600, record_every=300, evaluate_every=300)
    model = fit(train, validation, config, key=KEY, progress=False)
    histories = validation.joint(validation.steps[:40]).histories
    first = [model.ask(one).agents for one in histories]
    assert {agents[:2] for agents in first} == {(1, 3)} and {agents[-1] for agents in first} == {2}
    span = float(train.scaling.maximum[0] - train.scaling.minimum[0])
    for team in ([0], [3], [0, 3]):
        before = 1 + precisions[team].sum()
        for agent, decrease in model.fuse(histories[0], team).ranked_agents():
            exact = (1 / before - 1 / (before + precisions[agent])) / span**2
            assert decrease == pytest.approx(exact, rel=0.35, abs=0.02 / span**2)


def test_asking_is_fusing_whom_it_names_and_reads_nobody_else(data, model):
    histories = data[1].joint(data[1].steps[:1]).histories[0]
    asked = model.ask(histories, heard=[2], most=2)
    assert len(asked.agents) == len(asked.expected) == 2 and 2 not in asked.agents
    told = model.fuse(histories, [2, *asked.agents])
    np.testing.assert_array_equal(asked.estimate.mean, told.mean)
    assert model.fuse(histories, [2]).next_agent() == asked.agents[0]
    assert model.fuse(histories, [2, asked.agents[0]]).next_agent() == asked.agents[1]
    (silent,) = set(range(4)) - {2, *asked.agents}
    others = model.ask(jnp.asarray(histories).at[silent, :4].set(9.0), heard=[2], most=2)
    assert others.agents == asked.agents and others.expected == asked.expected
    np.testing.assert_array_equal(others.estimate.mean, asked.estimate.mean)


def test_asking_nobody_leaves_the_prior(data, model):
    histories = data[1].joint(data[1].steps[:1]).histories[0]
    asked = model.ask(histories, price=100.0)
    assert asked.agents == () and int(asked.estimate.messages) == 0 and "price" in asked.reason
    np.testing.assert_allclose(asked.estimate.mean, model.answers.prior.mean, rtol=1e-5)
    with pytest.raises(InputError, match="have answered already"):
        model.ask(histories, heard=[0, 1, 2, 3])
    with pytest.raises(InputError, match="price must be 0 or more"):
        model.ask(histories, price=-1.0)
    assert sorted(model.ask(histories).agents) == [0, 1, 2, 3]
