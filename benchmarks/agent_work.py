"""One agent's work, an answer and a hop: by JAX, by onnxruntime, and as bare products in NumPy."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from benchmarks.drawn_model import OBSERVATION, Sizes, model_of
from composite_flow.export.folder import export_model
from composite_flow.export.standalone.agent import Agent


def one_agent(sizes: Sizes, calls: int) -> list[dict]:
    """Seconds of each, the median of some calls."""
    model, y = model_of(5, sizes), np.zeros((1, sizes.state), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "out")
        ours, theirs = cf.Agent(model, 0), Agent(Path(folder) / "out", 0)
        noisy = jnp.asarray(y)
        work = [
            ("JAX", lambda: _answer(ours), lambda: np.asarray(ours.hop(noisy))),
            ("onnxruntime", lambda: _answer(theirs), lambda: theirs.hop(y)),
        ]
        _answer(ours)
        history, network = np.asarray(ours.history), model.denoiser
        assert model.fusion is not None
        answers = model.fusion.answers
        work.append(("NumPy", lambda: numpy_answer(answers, history), lambda: numpy_hop(network, history, y[0])))
        return [
            {"by": name, "answer": median_call(answer, calls), "hop": median_call(hop, calls)}
            for name, answer, hop in work
        ]


def _answer(agent) -> None:
    """From an observation to what is sent."""
    agent.observe(np.full(OBSERVATION, 0.3, np.float32))
    agent.answer()


def numpy_answer(answers, history):
    """μ − s̄, λ and ρ of an agent whose mean history was read before."""
    conditions = (history @ _host(answers.history_weights)).reshape(answers.biases.shape)
    x = np.maximum(conditions[0], 0.0)
    for weights, condition in zip(answers.hidden_weights, conditions[1:], strict=True):
        x = np.maximum(x @ _host(weights) + condition, 0.0)
    heads = (answers.evidence_weights, answers.weight_weights, answers.precision_weights)
    return [x @ _host(head) for head in heads]


def numpy_hop(network, history, y):
    """f(τ, y) with its context."""
    conditions = (history @ _host(network.history_weights)).reshape(-1, network.width)
    for weights, condition in zip(network.state_weights[:-1], conditions, strict=True):
        y = np.maximum(y @ _host(weights) + condition, 0.0)
    return y @ _host(network.state_weights[-1])


_HOST: dict[int, np.ndarray] = {}


def _host(weights) -> np.ndarray:
    """Weights as NumPy has them, once."""
    if id(weights) not in _HOST:
        _HOST[id(weights)] = np.asarray(weights)
    return _HOST[id(weights)]


def median_call(call: Callable[[], object], calls: int) -> float:
    """Seconds of the median of some calls."""
    call()
    found = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)
