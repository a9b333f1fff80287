"""The graphs of fusion: `answer`, what an agent sends of its history, and `fuse`, what a sum of answers says."""

from typing import Any

import numpy as np

from composite_flow.export.feature_graph import probabilities, sureness, where
from composite_flow.export.graph import Graph
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.familiar import CHECKS, Familiar
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.sparse import SparseAnswers


def answer_graph(answers: AnswerNetwork | SparseAnswers, familiar: Familiar | None) -> bytes:
    """`answer`: history (batch, history) to evidence, weight, precision, rest and unlike, as they are sent."""
    graph = Graph("answer")
    history = graph.input("history", len(answers.mean_histories) + _own_size(answers))
    is_sparse = isinstance(answers, SparseAnswers)
    parts = _sparse(graph, answers, history) if is_sparse else _dense(graph, answers, history)
    if familiar is not None:
        parts["unlike"] = _unlike(graph, familiar, history), len(CHECKS)
    for name, (tensor, size) in parts.items():
        graph.output(name, tensor, size)
    return graph.serialized()


def fuse_graph(prior: Prior) -> bytes:
    """`fuse`: sums of evidence, weight and precision (batch, state) to mean and variance, scaled."""
    graph, size = Graph("fuse"), len(prior.mean)
    evidence, weight, precision = (graph.input(name, size) for name in ("evidence", "weight", "precision"))
    number = np.asarray(prior.types.is_number, np.float32)
    divisor = graph.plus(weight, np.asarray(prior.precision))
    mean = graph.plus(graph.apply("Div", evidence, divisor), np.asarray(prior.mean))
    chance = probabilities(graph, graph.plus(evidence, np.asarray(prior.logits)), prior.types)
    mean = where(graph, number, mean, chance)
    one = graph.constant(np.ones(size))
    variance = graph.apply("Div", one, graph.plus(precision, np.asarray(prior.precision)))
    spread = graph.apply("Mul", chance, graph.apply("Sub", one, chance))
    graph.output("mean", mean, size)
    graph.output("variance", where(graph, number, variance, spread), size)
    return graph.serialized()


def _own_size(answers: AnswerNetwork | SparseAnswers) -> int:
    """Columns of a history without the identity."""
    return answers.own_size if isinstance(answers, SparseAnswers) else answers.history_size - answers.num_agents


def _unlike(graph: Graph, familiar: Familiar, history: str) -> str:
    """`Familiar.unlikeness`: outside, far and off."""
    low, width, mean = (np.asarray(getattr(familiar, name)) for name in ("low", "width", "mean"))
    own = graph.columns(history, 0, len(low))
    x = graph.apply("Div", graph.plus(own, -low), graph.constant(width))
    beyond = graph.apply("Max", graph.scaled(x, -1.0), graph.plus(x, -1.0), graph.constant(0.0))
    outside = graph.apply("ReduceMax", beyond, graph.whole_numbers([1]))
    centred = graph.plus(x, -mean)
    held = graph.times(centred, familiar.components)
    deviations = np.asarray(familiar.deviations)
    far = graph.times(graph.squared(held), 1.0 / (len(deviations) * deviations[:, None] ** 2))
    rest = graph.apply("Sub", centred, graph.times(held, np.asarray(familiar.components).T))
    off = graph.times(graph.squared(rest), np.full((len(low), 1), 1.0 / float(familiar.left)))
    return graph.apply("Concat", outside, far, off, axis=1)


def _dense(graph: Graph, answers: AnswerNetwork, history: str) -> dict[str, tuple[str, int]]:
    """Evidence of every feature, beside the agent's mean history, which its identity's columns pick."""
    agents, state = answers.num_agents, answers.state_size
    identity = graph.columns(history, answers.history_size - agents, answers.history_size)
    here, usual = (
        _last_layer(graph, answers, columns) for columns in (history, graph.times(identity, answers.mean_histories))
    )
    news, number = graph.apply("Sub", here, usual), np.asarray(answers.prior.types.is_number, np.float32)
    unit = graph.constant(number * np.asarray(answers.prior.precision))
    weight, precision = (_sureness(graph, answers, here, name, unit) for name in ("weight", "precision"))
    factor = graph.plus(weight, 1.0 - number)  # λ of numbers, 1 of others
    evidence = graph.apply("Mul", graph.times(news, answers.evidence_weights), factor)
    parts = {"evidence": (evidence, state), "weight": (weight, state), "precision": (precision, state)}
    return {**parts, "rest": (graph.times(news, answers.free_weights), answers.num_free)}


def _sparse(graph: Graph, answers: SparseAnswers, history: str) -> dict[str, tuple[str, int]]:
    """Evidence of the agent's slots, whose meaning its identity's columns pick."""
    own, agents, slots = answers.own_size, answers.num_agents, answers.num_slots
    columns, identity = graph.columns(history, 0, own), graph.columns(history, own, own + agents)
    embedding, mean = graph.times(identity, answers.embeddings), graph.times(identity, answers.mean_histories)
    here, usual = (_last_layer(graph, answers, part, embedding) for part in (columns, mean))
    heads = np.concatenate([answers.evidence_weights, np.asarray(answers.everywhere_weights)[:, None]], axis=1)
    news = graph.apply("Sub", graph.times(here, heads), graph.times(usual, heads))
    places = np.minimum(np.asarray(answers.slots, np.int32), len(answers.prior.mean) - 1)  # as JAX reads empty slots
    number = np.asarray(answers.prior.types.is_number, np.float32)[places]
    unit = graph.times(identity, number * np.asarray(answers.prior.precision)[places])
    weight, precision = (_sureness(graph, answers, here, name, unit) for name in ("weight", "precision"))
    factor = graph.apply("Add", weight, graph.times(identity, 1.0 - number))
    evidence = graph.apply("Mul", graph.columns(news, 0, slots), factor)
    parts = {"evidence": (evidence, slots), "weight": (weight, slots), "precision": (precision, slots)}
    return {**parts, "rest": (graph.columns(news, slots, slots + 1), 1)}


def _last_layer(graph: Graph, answers: Any, columns: str, embedding: str | None = None) -> str:
    """x of these columns of a history."""
    low, high = np.asarray(answers.history_minimum), np.asarray(answers.history_maximum)
    scaled = graph.apply("Div", graph.plus(columns, -low), graph.constant(high - low))
    conditions = graph.times(scaled, answers.history_weights)
    if embedding is None:
        conditions = graph.plus(conditions, np.asarray(answers.biases).reshape(-1))
    else:
        present = graph.columns(scaled, len(low) - 1, len(low))
        conditions = graph.apply("Add", conditions, graph.apply("Mul", present, embedding))
    return graph.layers(conditions, answers.width, list(answers.hidden_weights), answers.activation)


def _sureness(graph: Graph, answers: Any, here: str, name: str, unit: str) -> str:
    """P_0 exp(clip(4 (x A + b), ±12)) of numbers, 0 of others."""
    said = graph.plus(graph.times(here, getattr(answers, f"{name}_weights")), getattr(answers, f"{name}_bias"))
    return graph.apply("Mul", sureness(graph, said), unit)
