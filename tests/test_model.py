"""A model comes back from its file, and answers in the state's own units."""

import dataclasses
from typing import cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

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
