"""Training reaches the floor of its loss, and an interrupted run ends in the bits of one that was not."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import load_description
from composite_flow.history import HistoryLayout
from composite_flow.model import load
from composite_flow.network import Network
from composite_flow.training.fit import TRAINING_FILE, TrainingConfig, fit
from composite_flow.training.loss import denoising_loss, ideal_loss, pair_losses
from composite_flow.training.optimiser import Schedule, Task, initial_state, train_steps

CONFIG = TrainingConfig(
    width=16, depth=2, batch=32, steps=60, record_every=20, evaluate_every=40, checkpoint_seconds=0.0
)


class Table(eqx.Module):
    """Pairs out of two arrays."""

    histories: Float[Array, "pairs history"]
    states: Float[Array, "pairs state"]
    scaling: Scaling
    layout: HistoryLayout = eqx.field(static=True)

    @property
    def num_steps(self) -> int:
        return len(self.states) // self.layout.num_agents

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "Table":
        return self

    def sample(self, key: PRNGKeyArray, batch: int):
        rows = jax.random.randint(key, (batch,), 0, len(self.states))
        return self.histories[rows], self.states[rows]


def two_sensors(size: int = 8) -> Table:
    """Two agents that each see one of two bits; observation, mask and agent make a history of four columns."""
    bits = jax.random.bernoulli(jax.random.key(3), shape=(size, 2)).astype(jnp.float32)
    agents = jnp.tile(jnp.eye(2), (size, 1))
    seen = jnp.stack([bits[:, 0], bits[:, 1]], axis=1).reshape(-1, 1)
    histories = jnp.concatenate([seen, jnp.ones_like(seen), agents], axis=1)
    return Table(histories, jnp.repeat(bits, 2, axis=0), Scaling.identity(2), HistoryLayout(1, 1, 2, 2))


TABLE = two_sensors()


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model.denoiser, eqx.is_array))]


def assert_same_bits(one, other):
    for mine, theirs in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(mine.view(np.uint32), theirs.view(np.uint32))


@pytest.fixture(scope="module")
def uninterrupted():
    return fit(TABLE, TABLE, CONFIG, key=jax.random.key(1))


class Killed(Exception):
    """Stands for a process that ends without a word."""


@pytest.mark.parametrize("stop", [1, 17, 20, 59])
def test_a_run_that_ends_at_any_step_resumes_to_the_same_bits(tmp_path, uninterrupted, stop):
    def kill(step, total, loss):
        if step >= stop:
            raise Killed

    with pytest.raises(Killed):
        fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, progress=kill)
    model = fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, resume=True)
    assert_same_bits(model, uninterrupted)
    without_seconds = [[{**p, "seconds": 0} for p in m.curves] for m in (model, uninterrupted)]
    assert without_seconds[0] == without_seconds[1]
    assert_same_bits(load(tmp_path), uninterrupted)


def test_a_finished_run_resumes_to_itself(tmp_path, uninterrupted):
    for resume in (False, True):
        model = fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, resume=resume)
        assert_same_bits(model, uninterrupted)


def test_a_process_killed_while_it_trains_resumes_to_the_same_bits(tmp_path, uninterrupted):
    script = (
        f"import sys, time, jax; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_fit import CONFIG, TABLE, fit\n"
        "def progress(step, total, loss):\n"
        "    print(step, flush=True)\n"
        "    time.sleep(60 if step >= 25 else 0)\n"
        f"fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder={str(tmp_path)!r}, progress=progress)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 25:
            break
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    (tmp_path / f"{TRAINING_FILE}.partial").write_bytes(b"what a killed writer leaves behind")
    assert 0 < load_description(tmp_path / TRAINING_FILE)["curves"][-1]["step"] <= 25
    model = fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, resume=True)
    assert_same_bits(model, uninterrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", TRAINING_FILE]


def test_an_interrupt_saves_and_then_stops(tmp_path, uninterrupted):
    handler = signal.getsignal(signal.SIGINT)
    config = dataclasses.replace(CONFIG, checkpoint_seconds=3600.0)
    stopped_at = []

    def interrupt(step, total, loss):
        if step >= 17:
            stopped_at.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(TABLE, TABLE, config, key=jax.random.key(1), folder=tmp_path, progress=interrupt)
    assert len(stopped_at) == 1 and signal.getsignal(signal.SIGINT) is handler
    steps = []
    resumed = fit(
        TABLE,
        TABLE,
        CONFIG,
        key=jax.random.key(1),
        folder=tmp_path,
        resume=True,
        progress=lambda *p: steps.append(p[0]),
    )
    assert steps[0] > stopped_at[0] and steps[-1] == 60
    assert_same_bits(resumed, uninterrupted)


def test_training_runs_outside_the_main_thread(uninterrupted):
    models = []
    thread = threading.Thread(target=lambda: models.append(fit(TABLE, TABLE, CONFIG, key=jax.random.key(1))))
    thread.start()
    thread.join()
    assert_same_bits(models[0], uninterrupted)


def test_another_configuration_key_or_data_set_cannot_resume(tmp_path):
    fit(TABLE, None, CONFIG, key=jax.random.key(1), folder=tmp_path)
    for data, config, key, name in (
        (TABLE, dataclasses.replace(CONFIG, learning_rate=0.1), 1, "learning_rate = 0.001, not 0.1"),
        (TABLE, CONFIG, 2, "key"),
        (two_sensors(9), CONFIG, 1, "data"),
    ):
        with pytest.raises(MismatchError, match=name):
            fit(data, None, config, key=jax.random.key(key), folder=tmp_path, resume=True)


def test_an_earlier_run_is_in_the_way_unless_overwriting_is_allowed(tmp_path, uninterrupted):
    first = fit(TABLE, None, CONFIG, key=jax.random.key(2), folder=tmp_path)
    with pytest.raises(FileError, match="exists already"):
        fit(TABLE, None, CONFIG, key=jax.random.key(1), folder=tmp_path)
    assert_same_bits(load(tmp_path), first)
    fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, overwrite=True)
    assert_same_bits(load(tmp_path), uninterrupted)
    with pytest.raises(InputError, match="folder"):
        fit(TABLE, None, CONFIG, key=jax.random.key(1), resume=True)


def precisions(jaxpr):
    """Of every matrix product in a program, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield str(equation.params["precision"])
        for inner in jax.tree.leaves(
            equation.params, is_leaf=lambda part: hasattr(part, "jaxpr") or hasattr(part, "eqns")
        ):
            if hasattr(inner, "jaxpr") or hasattr(inner, "eqns"):
                yield from precisions(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_product_of_a_step_has_the_precision_that_is_set(precision):
    """Forward 4: history, two hidden layers, output; backward 4 for their weights and 2 for the inputs of layers."""
    schedule = Schedule(*(jnp.array(number) for number in (0.01, 1.0, 0.0, 0.0)))
    task = Task(TABLE, jax.random.key(0), schedule, 32, 0.5, precision=precision)
    state = initial_state(Network(4, 2, 16, 2, key=jax.random.key(0)), True)
    program = jax.make_jaxpr(lambda state: eqx.filter(train_steps(task, state, jnp.array(1)), eqx.is_array))(state)
    found = list(precisions(program.jaxpr))
    assert len(found) == 10
    assert set(found) == {"None"} if precision == "float32" else all("BF16_BF16_F32" in one for one in found)


def test_training_in_bfloat16_follows_the_curve_in_float32(uninterrupted):
    """Rounding to 8 bits moves each product by 0.4%; CPUs may sum in float32 all the same."""
    model = fit(TABLE, TABLE, dataclasses.replace(CONFIG, precision="bfloat16"), key=jax.random.key(1))
    assert all(leaf.dtype == jnp.float32 for leaf in leaves(model))
    for one, other in zip(model.curves, uninterrupted.curves, strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=0.03)


def test_the_learning_curve_holds_the_excess_and_what_evaluate_returns():
    calls = []

    def evaluate(denoiser, step):
        calls.append(step)
        return {"psnr": 10.0 + step}

    model = fit(
        TABLE, TABLE, CONFIG, key=jax.random.key(1), evaluate=evaluate, ideal_loss=0.25, description={"test": [3]}
    )
    assert model.description["test"] == [3] and model.state_names == ("state 0", "state 1")
    assert [point["step"] for point in model.curves] == [20, 40, 60] and calls == [40, 60]
    assert ["psnr" in point for point in model.curves] == [False, True, True]
    for point in model.curves:
        assert point["excess"] == point["validation_loss"] - 0.25
    assert model.curves[-1]["validation_loss"] == denoising_loss(model.denoiser, TABLE).value


def test_the_network_learns_states_that_its_history_shows():
    """Where the history shows all, the floor of the loss is 0 and only a network that reads it comes near."""
    shown = Table(  # the second bit instead of the mask
        jnp.concatenate([TABLE.states, TABLE.histories[:, 2:]], axis=1), TABLE.states, TABLE.scaling, TABLE.layout
    )
    config = dataclasses.replace(CONFIG, steps=600, record_every=200, evaluate_every=200, learning_rate=1e-2)
    model = fit(shown, shown, config, key=jax.random.key(1))
    assert model.curves[-1]["validation_loss"] < 0.01
    assert model.radius is not None and model.radius < 0.1


def test_a_time_budget_ends_the_run_and_is_the_only_thing_that_may_change(tmp_path):
    config = dataclasses.replace(CONFIG, steps=None, minutes=1e-4)
    model = fit(TABLE, None, config, key=jax.random.key(1), folder=tmp_path)
    assert model.curves[-1]["seconds"] >= 6e-3
    seconds = model.curves[-1]["seconds"] + 0.05  # more than the first run used, however long its compilation took
    longer_config = dataclasses.replace(config, minutes=seconds / 60)
    longer = fit(TABLE, None, longer_config, key=jax.random.key(1), folder=tmp_path, resume=True)
    assert longer.curves[-1]["seconds"] >= seconds and longer.curves[-1]["step"] > model.curves[-1]["step"]


def test_budgets():
    assert TrainingConfig().total_steps(1000) == 10_000
    assert TrainingConfig(steps=7).total_steps(1000) == 7
    assert TrainingConfig(epochs=1.5, batch=512).total_steps(1000) == 3  # ⌈1500 / 512⌉
    assert TrainingConfig(minutes=3.0).total_steps(1000) is None
    assert TrainingConfig(minutes=3.0, steps=5).total_steps(1000) == 5
    for settings in (
        {"steps": 5, "epochs": 1.0},
        {"steps": 0},
        {"minutes": -1.0},
        {"learning_rate": math.nan},
        {"average": 1.0},
        {"record_every": 3, "evaluate_every": 4},
        {"batch": 0},
    ):
        with pytest.raises(InputError):
            TrainingConfig(**settings)


def test_the_rate_falls_along_a_cosine_of_whichever_budget_is_further():
    rates = [
        float(Schedule(jnp.array(2.0), jnp.array(1.0), jnp.array(0.01), jnp.array(elapsed)).rate(jnp.array(step)))
        for step, elapsed in ((0, 0.0), (50, 0.0), (50, 0.5), (0, 0.5), (100, 0.0), (200, 0.0), (3, 1.0))
    ]
    np.testing.assert_allclose(rates, [2, 1, 1, 1, 0, 0, 0], atol=1e-6)  # float32


def test_the_rate_rises_linearly_at_first():
    schedule = Schedule(jnp.array(2.0), jnp.array(4.0), jnp.array(0.0), jnp.array(0.0))
    rates = [float(schedule.rate(jnp.array(step))) for step in range(6)]
    np.testing.assert_allclose(rates, [0.5, 1, 1.5, 2, 2, 2], atol=1e-6)  # float32


def test_training_ends_early_where_it_is_asked_to():
    model = fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), until=lambda point: point["step"] >= 40)
    assert model.curves[-1]["step"] == 40 < CONFIG.steps


def test_the_average_forgets_the_start_and_leaves_the_untrained_alone(key):
    network = Network(4, 2, 16, 2, key=key).with_history_range(jnp.full(4, 0.1), jnp.full(4, 0.7))
    schedule = Schedule(jnp.array(0.01), jnp.array(1.0), jnp.array(0.0), jnp.array(0.0))
    task, state = Task(TABLE, key, schedule, 32, 0.5), initial_state(network, True)
    average = np.asarray(network.output_bias)
    for step in range(6):
        state = train_steps(task, state, jnp.array(1))
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * np.asarray(state.network.output_bias)
    np.testing.assert_allclose(state.denoiser.output_bias, average, rtol=1e-5)  # float32
    for one in (state.network, state.denoiser):
        assert (one.history_minimum == jnp.float32(0.1)).all() and (one.history_maximum == jnp.float32(0.7)).all()


class Scaled(eqx.Module):
    """f(τ, y) = factor · y."""

    factor: float
    state_size: int = 2

    def condition(self, history):
        return None

    def denoise(self, context, y):
        return self.factor * y


def test_losses_have_their_closed_forms():
    """f = a y on the state 0 costs d a² E[σ²] = d a² / 3; on the state s, (1 − a)² ‖s‖² more."""
    for factor, state in ((1.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)):
        dataset = Table(TABLE.histories, jnp.full_like(TABLE.states, state), TABLE.scaling, TABLE.layout)
        mean = ideal_loss(Scaled(factor), dataset, jax.random.key(2), 20_000)
        exact = 2 * factor**2 / 3 + (1 - factor) ** 2 * 2 * state**2
        # The seed is fixed; four standard errors leave room for all four cases. The last one is exact.
        assert abs(mean.value - exact) <= 4 * mean.standard_error + 1e-6
    # Var ‖z‖² σ² = E[σ⁴] E[‖z‖⁴] − (2/3)² = 8/5 − 4/9 at d = 2, a = 1, s = 0.
    losses = pair_losses(Scaled(1.0), jnp.zeros((20_000, 4)), jnp.zeros((20_000, 2)), jax.random.key(3))
    assert float(losses.var()) == pytest.approx(8 / 5 - 4 / 9, rel=0.1)  # kurtosis ≈ 25: 10% is three standard errors
    with pytest.raises(InputError):
        denoising_loss(Scaled(1.0), TABLE, num_samples=0)


def test_bad_data_and_diverging_runs_end_with_a_sentence():
    broken = eqx.tree_at(lambda table: table.states, TABLE, TABLE.states.at[3, 0].set(jnp.nan))
    with pytest.raises(InputError, match="NaN"):
        fit(broken, None, CONFIG, key=jax.random.key(1))
    with pytest.raises(InputError, match="no longer finite near step .*learning_rate"):
        fit(TABLE, None, dataclasses.replace(CONFIG, learning_rate=1e30), key=jax.random.key(1))
