"""A model learns one network after another: each as if alone, and what was learned stays."""

import dataclasses
import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_sensors import assert_same, four_sensors, left_at

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.training import stages
from composite_flow.training.fit import fit
from composite_flow.training.stages import (
    ANSWERS_FILE,
    FEWEST_JOINT,
    TRAINING_FILE,
    joint_histories_per_step,
    stage_of,
)

pytestmark = pytest.mark.slow

CONFIG = cf.TrainingConfig(
    width=16,
    depth=2,
    batch=32,
    steps=60,
    record_every=20,
    evaluate_every=40,
    checkpoint_seconds=0.0,
    warmup=10,
    team_denoiser=False,
)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def data():
    return four_sensors()


def learned(data, learn, **options):
    return fit(*data, dataclasses.replace(CONFIG, learn=learn), key=KEY, progress=False, **options)


@pytest.fixture(scope="module")
def both(data):
    return learned(data, "both")


def test_each_is_learned_as_if_alone(data, both):
    denoiser, fusion = learned(data, "denoiser"), learned(data, "fusion")
    assert denoiser.fusion is None and denoiser.has_denoiser and not fusion.has_denoiser
    assert_same(both.denoiser, denoiser.denoiser)
    assert_same(both.fusion, fusion.fusion)
    assert both.radius == denoiser.radius and fusion.radius is None
    assert len(both.curves) == len(denoiser.curves) + len(fusion.curves)


def test_the_curve_of_answers_tells_how_good_teams_are(both):
    last = both.curves[-1]
    assert last["step"] == 60 and last["exact_rate_fusion"] > both.curves[3]["exact_rate_fusion"] - 0.1
    assert last["psnr_fusion"] > last["psnr_fusion_of_2"] > last["psnr_fusion_of_1"]
    assert last["validation_loss"] < both.curves[3]["validation_loss"]


@pytest.mark.parametrize("stop", [7, 60, 85, 120])
def test_training_that_ends_at_any_step_resumes_to_the_same_bits(tmp_path, data, both, stop):
    """Within the denoiser's training, between the two, and within that of the answers."""
    left_at(stop, 120, partial(fit, *data, dataclasses.replace(CONFIG, learn="both"), key=KEY, folder=tmp_path))
    resumed = learned(data, "both", folder=tmp_path, resume=True)
    assert_same(resumed.denoiser, both.denoiser)
    assert_same(resumed.fusion, both.fusion)


def test_fusion_is_added_to_a_finished_run_and_what_was_learned_stays(tmp_path, data, both):
    learned(data, "denoiser", folder=tmp_path)
    learned(data, "fusion", folder=tmp_path, resume=True)
    assert (tmp_path / TRAINING_FILE).exists() and (tmp_path / ANSWERS_FILE).exists()
    again = learned(data, "denoiser", folder=tmp_path, resume=True)
    for model in (again, cf.load(tmp_path)):
        assert_same(model.denoiser, both.denoiser)
        assert_same(model.fusion, both.fusion)


def test_a_new_run_leaves_no_answers_of_an_old_one(tmp_path, data):
    learned(data, "both", folder=tmp_path)
    learned(data, "denoiser", folder=tmp_path, overwrite=True)
    assert not (tmp_path / ANSWERS_FILE).exists() and cf.load(tmp_path).fusion is None


def test_data_larger_than_memory_and_several_shares(tmp_path, data):
    """Answers learn from portions that are read one after another, and resume within them."""
    train, validation = four_sensors(tmp_path / "data")
    config = dataclasses.replace(CONFIG, learn="fusion", evaluate_every=20, resident_gigabytes=5e-6)
    model = fit(train, validation, config, key=KEY, progress=False)
    assert model.curves[-1]["psnr_fusion"] > model.curves[0]["psnr_fusion"]


def test_a_step_has_as_many_pairs_as_the_batch_but_not_too_few_joint_histories():
    assert joint_histories_per_step(512, 5) == 102
    assert joint_histories_per_step(512, 100) == FEWEST_JOINT


def test_epochs_count_joint_histories(data):
    """32 pairs a step are 64 joint histories of four agents here, the fewest."""
    train = data[0]
    config = dataclasses.replace(CONFIG, learn="fusion", steps=None, epochs=10)
    model = fit(*data, config, key=KEY, progress=False)
    assert model.curves[-1]["step"] == -(-10 * train.num_steps // FEWEST_JOINT)


def test_answers_may_have_a_budget_of_their_own_and_warm_up_within_it(data):
    config = dataclasses.replace(CONFIG, learn="both", fusion_steps=40, warmup=500, record_every=10)
    model = fit(*data, config, key=KEY, progress=False)
    steps = [point["step"] for point in model.curves]
    assert steps == [*range(10, 61, 10), *range(10, 41, 10)]
    assert model.curves[-1]["validation_loss"] < model.curves[6]["validation_loss"]
    stage = stage_of("answers", data[0], config, (jnp.zeros(7), jnp.ones(7)), 4, {})
    assert (stage.total, stage.config.warmup) == (40, 4)


def test_the_team_denoiser_is_learned_over_answers_that_stay(tmp_path, data, both):
    """Joint samples are in the state's own units, and the same after a file."""
    config = dataclasses.replace(CONFIG, learn="fusion", team_denoiser=True, fusion_steps=60)
    model = fit(*data, config, key=KEY, folder=tmp_path, progress=False)
    assert model.fusion is not None and model.fusion.team_denoiser is not None
    assert_same(model.answers, both.answers)
    assert_same(model.fusion.team_denoiser.answers, both.answers)
    assert len(model.curves) == 6 and math.isfinite(model.curves[-1]["validation_loss"])
    joint = data[1].joint(data[1].steps[:1]).histories[0]
    for by in ("conditional", "blind"):
        samples = model.sample(joint, 5, key=KEY, participants=[2, 0], by=by)
        assert samples.shape == (5, 4) and bool(jnp.all((samples > -0.01) & (samples < 1.01)))
        again = cf.load(tmp_path).sample(joint, 5, key=KEY, participants=[0, 2], by=by)
        np.testing.assert_allclose(samples, again, atol=1e-5)
    with pytest.raises(InputError, match="no team denoiser"):
        both.sample(joint, 5, key=KEY)
    with pytest.raises(InputError, match="num_samples"):
        model.sample(joint, 0, key=KEY)


def test_large_states_have_sparse_answers_and_no_team_denoiser(tmp_path):
    """8×8 sensors have 112 areas, and 64 · 112 numbers of dense answers are still few; 10×10 have 18,000."""
    problem = cf.SensorNetwork.grid(10, 10, num_targets=1)
    train, validation, _ = cf.HistoryDataset(cf.collect(problem, 40, key=KEY)).split(key=KEY)
    config = dataclasses.replace(
        CONFIG, learn="fusion", team_denoiser=True, steps=30, record_every=10, evaluate_every=10
    )
    model = fit(train, validation, config, key=KEY, folder=tmp_path, progress=False)
    assert isinstance(model.answers, SparseAnswers) and model.fusion.team_denoiser is None
    joint = validation.joint(validation.steps[:3]).histories
    teams = np.ones((3, 100), bool)
    teams[:, ::2] = False
    np.testing.assert_allclose(cf.load(tmp_path).fuse_batch(joint, teams).mean, model.fuse_batch(joint, teams).mean)
    sent = model.fuse(joint[0])
    assert sent.message_bytes == 4 * (model.answers.num_slots + 1) and int(sent.messages) == 100
    with pytest.raises(InputError, match="so large"):
        model.sample(joint[0], 5, key=KEY)


def test_dead_answers_are_noticed_and_told(data, monkeypatch):
    """All units of the last layer are dead where their biases are far below 0: the state's mean, whoever answers."""

    def dead(*arguments, **options):
        network = AnswerNetwork(*arguments, **options)
        return eqx.tree_at(lambda n: n.biases, network, jnp.full_like(network.biases, -100.0))

    assert learned(data, "fusion").curves[-1]["speaking"] == 1.0
    monkeypatch.setattr(stages, "AnswerNetwork", dead)
    other = dataclasses.replace(CONFIG, learn="fusion", width=12)  # compiled functions know the other class
    with pytest.warns(UserWarning, match="At step 20 no answer says anything.*Lower learning_rate"):
        model = fit(*data, other, key=KEY, progress=False)
    assert model.curves[-1]["speaking"] == 0.0


def test_pairs_alone_teach_no_fusion(data):
    class Pairs:
        """Pairs whose agents are not known together."""

        layout, scaling, num_steps = data[0].layout, data[0].scaling, data[0].num_steps

        def resident(self, key, num_bytes):
            return data[0]

        def sample(self, key, batch):
            return data[0].sample(key, batch)

    with pytest.raises(InputError, match="whole joint histories"):
        fit(Pairs(), None, dataclasses.replace(CONFIG, learn="fusion"), key=KEY, progress=False)
