"""A model comes back from its file, and answers in the state's own units."""

import dataclasses
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow import model as model_module
from composite_flow.certificate.checks import certify_batch
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.data.scaling import Scaling
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import save_checkpoint
from composite_flow.history import HistoryLayout
from composite_flow.model import MODEL_FILE, Model, load
from composite_flow.network import Network

LAYOUT = HistoryLayout(length=1, observation_size=2, num_actions=2, num_agents=3)  # six columns
SCALING = Scaling(jnp.array([-1.0, 10.0]), jnp.array([1.0, 30.0]))


class Attractor(eqx.Module):
    """f(τ, y) = s + slope (y − s), whose only fixed point is s, for every history."""

    state: Float[Array, " state"]
    slope: float = eqx.field(static=True)

    @property
    def state_size(self) -> int:
        return len(self.state)

    def condition(self, history):
        return history[:1] * 0.0

    def denoise(self, context, y):
        return self.state + self.slope * (y - self.state)


def model_of(denoiser, radius=0.1) -> Model:
    return Model(
        denoiser=denoiser,
        layout=LAYOUT,
        scaling=SCALING,
        radius=radius,
        curves=({"step": 1, "loss": 0.5},),
        state_names=("speed", "heat"),
        description={"problem": {"name": "two"}, "test": [1, 2]},
    )


@pytest.mark.parametrize("history_at", ["every_layer", "input"])
def test_a_model_comes_back_from_its_file(tmp_path, key, history_at):
    model = model_of(
        Network(LAYOUT, 2, 8, 3, history_at, "silu", key=key).with_history_range(jnp.zeros(6), jnp.ones(6) * 3)
    )
    model.save(tmp_path / "run")
    loaded = load(tmp_path / "run")
    for field in dataclasses.fields(Model):
        if field.name not in ("denoiser", "scaling"):
            assert getattr(loaded, field.name) == getattr(model, field.name)
    assert eqx.tree_equal(loaded.denoiser, model.denoiser)
    assert eqx.tree_equal(loaded.scaling, model.scaling)


def test_denoisers_of_other_classes_need_their_structure(tmp_path):
    model_of(Attractor(jnp.array([0.25, 0.5]), 0.5)).save(tmp_path)
    with pytest.raises(InputError, match="another class"):
        load(tmp_path)
    loaded = load(tmp_path, Attractor(jnp.zeros(2), 0.5))
    np.testing.assert_array_equal(cast(Attractor, loaded.denoiser).state, [0.25, 0.5])


def test_files_in_the_way_and_files_that_are_no_models(tmp_path, key):
    model = model_of(Network(LAYOUT, 2, 8, 2, key=key))
    model.save(tmp_path)
    with pytest.raises(FileError, match="exists already"):
        model.save(tmp_path)
    model.save(tmp_path, overwrite=True)
    with pytest.raises(FileError, match="does not exist"):
        load(tmp_path / "elsewhere")
    save_checkpoint(tmp_path / MODEL_FILE, {"a": jnp.zeros(1)}, {"kind": "training"}, overwrite=True)
    with pytest.raises(FileError, match="not a model"):
        load(tmp_path)


def test_a_model_answers_in_the_states_own_units(key):
    model = model_of(Attractor(jnp.array([0.25, 0.5]), 0.1))
    answer = model.reconstruct(jnp.ones((3, 6)), key=key, num_samples=4)
    # 18 hops contract by 1e-18; float32 remains.
    np.testing.assert_allclose(answer.state, [-0.5, 20.0], rtol=1e-5)
    assert answer.named_state == pytest.approx({"speed": -0.5, "heat": 20.0}, rel=1e-5)
    np.testing.assert_allclose(answer.candidates[0], answer.state)
    assert answer.shares[0] == 1.0 and answer.mask.sum() == 1
    assert answer.accepted_share == 1.0


def test_an_answer_needs_a_radius(key):
    model = model_of(Attractor(jnp.array([0.25, 0.5]), 0.1), radius=None)
    with pytest.raises(InputError, match="radius"):
        model.reconstruct(jnp.ones((3, 6)), key=key, num_samples=4)
    assert model.reconstruct(jnp.ones((3, 6)), key=key, num_samples=4, radius=0.1).accepted_share == 1.0


def test_histories_of_another_width_are_refused(key):
    with pytest.raises(MismatchError, match="6 columns, not 5"):
        model_of(Attractor(jnp.zeros(2), 0.1)).reconstruct(jnp.ones((3, 5)), key=key)


@pytest.fixture(scope="module")
def dataset() -> HistoryDataset:
    """300 steps in 50 episodes of two features, as the layout has them."""
    random = np.random.default_rng(0)
    episodes = Episodes.from_arrays(
        observations=random.random((300, 3, 2), np.float32),
        actions=random.integers(0, 2, (300, 3)),
        states=random.random((300, 2), np.float32),
        ends=np.arange(300) % 6 == 5,
    )
    return HistoryDataset(episodes)


def test_many_joint_histories_are_like_a_stream_of_them(key, dataset):
    """300 joint histories make one chunk of 256 and one that is filled up."""
    layout = dataset.layout
    network = Network(layout, 2, 8, 2, key=key)
    model = dataclasses.replace(model_of(network), layout=layout)
    histories = dataset.joint(np.arange(300)).histories
    found = model.reconstruct_batch(histories, key=key, num_samples=3, num_sweeps=2)
    assert found.state.shape == (300, 2) and found.estimate.samples.shape == (300, 3, 2)
    parts = list(
        model.reconstruct_steps(dataset, np.arange(300), key=key, about={"seed": 0}, num_samples=3, num_sweeps=2)
    )
    assert [len(part) for part in parts] == [256, 44]
    pairs = {
        "estimates": found.state,
        "candidates": found.candidates,
        "shares": found.shares,
        "filled": found.mask,
        "accepted": found.accepted,
        "accepted_share": found.accepted_share,
        "steps": np.arange(300),
        "episodes": np.arange(300) // 6,
    }
    for name, expected in pairs.items():
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), expected)
    assert parts[0].state_names == ("speed", "heat") and parts[0].about == {"seed": 0}


def test_a_batch_is_what_the_functions_below_make_of_it(key):
    """In chunks of 256, with the key of each folded out of the number of its chunk."""
    model = model_of(Attractor(jnp.array([0.25, 0.5]), 0.1))
    histories = jax.random.uniform(key, (5, 3, 6))
    found = model.reconstruct_batch(histories, key=key, num_samples=4)
    estimate = reconstruct_batch(model.denoiser, histories, key=jax.random.fold_in(key, 0), num_samples=4)
    assert eqx.tree_equal(found.estimate, estimate)
    assert eqx.tree_equal(found.certificate, certify_batch(model.denoiser, histories, estimate, radius=0.1))
    np.testing.assert_allclose(found.state, np.tile([-0.5, 20.0], (5, 1)), rtol=1e-5)
    assert found.accepted.shape == (5,) and bool(found.accepted.all())
    far = model.reconstruct_batch(histories, key=key, radius=1e-12, num_samples=4, num_sweeps=1)
    assert not far.accepted.any()


def test_every_chunk_has_a_key_and_the_full_size(key, monkeypatch):
    monkeypatch.setattr(model_module, "AT_ONCE", 3)
    model = model_of(Attractor(jnp.array([0.25, 0.5]), 0.1))
    histories = jax.random.uniform(key, (5, 3, 6))
    found = model.reconstruct_batch(histories, key=key, num_samples=2, num_sweeps=1)
    filled_up = histories[jnp.array([3, 4, 4])]
    last = reconstruct_batch(model.denoiser, filled_up, key=jax.random.fold_in(key, 1), num_samples=2, num_sweeps=1)
    np.testing.assert_array_equal(found.estimate.samples[3:], last.samples[:2])


def test_batches_that_cannot_be_used_are_refused_before_the_work(key):
    model = model_of(Attractor(jnp.zeros(2), 0.1), radius=None)
    with pytest.raises(InputError, match="radius"):
        model.reconstruct_batch(jnp.ones((2, 3, 6)), key=key)
    with pytest.raises(MismatchError, match="6 columns, not 5"):
        model.reconstruct_batch(jnp.ones((2, 3, 5)), key=key)
    with pytest.raises(InputError, match="at least one"):
        model.reconstruct_batch(jnp.ones((0, 3, 6)), key=key, radius=0.1)


def test_agents_have_names_or_numbers(key):
    """Participants and orders by name are those by number; a name that nobody has is refused."""
    model = dataclasses.replace(
        model_of(Attractor(jnp.array([0.2, 0.7]), 0.5)),
        layout=dataclasses.replace(LAYOUT, agent_names=("ann", "bob", "cy")),
    )
    histories = jnp.concatenate([jnp.ones((3, 3)), jnp.eye(3)], axis=1)
    for by_name, by_number in (
        ({"participants": ["cy", "ann"]}, {"participants": [2, 0]}),
        ({"participants": ["bob", 0], "order": ["bob", "ann"]}, {"participants": [1, 0], "order": [1, 0]}),
    ):
        one, other = (model.reconstruct(histories, key=key, **options) for options in (by_name, by_number))
        np.testing.assert_array_equal(one.state, other.state)
        many = model.reconstruct_batch(histories[None], key=key, **by_name)
        assert many.certificate.agents.shape[-1] == one.certificate.agents.shape[-1] == 2
        assert one.certificate.agents.tolist() == other.certificate.agents.tolist()
    with pytest.raises(InputError, match="no agent 'dan'; the agents are 0 to 2, named ann, bob, cy"):
        model.reconstruct(histories, key=key, participants=["dan"])
