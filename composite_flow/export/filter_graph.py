"""The graphs of what is carried over time: the product filter's parts, and hops of chains.

What is known is three tensors, mean, weight and precision; weights are of numbers alone, and 0 of other features.
"""

import numpy as np

from composite_flow.export.feature_graph import logits, probabilities, sureness, where
from composite_flow.export.graph import Graph
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import PredictorNetwork, ProductFilter, SpeakerNetwork
from composite_flow.fusion.over_time.reader import LOGARITHM_SCALE, Reader

Known = tuple[str, str, str]
KNOWN = ("mean", "weight", "precision")


def say_graph(team_filter: ProductFilter, speaker: SpeakerNetwork) -> bytes:
    """`filter_say`: a history, and what was predicted, to evidence, weight and precision, beside the prior's mean."""
    graph, prior, size = Graph("filter_say"), speaker.prior, len(speaker.prior.mean)
    history, known = graph.input("history", len(speaker.reader.history_minimum)), _inputs(graph, size)
    x = _read(graph, speaker.reader, history, _in_numbers(graph, known, prior))
    sure = sureness(graph, graph.plus(graph.times(x, speaker.sureness_weights), speaker.sureness_bias))
    number = np.asarray(prior.types.is_number, np.float32)
    unit = number * np.asarray(prior.precision)
    weight, precision = (graph.scaled(graph.columns(sure, at, at + size), unit) for at in (0, size))
    factor = graph.plus(weight, 1.0 - number)  # λ of numbers, 1 of others
    beside = graph.apply("Mul", graph.times(x, speaker.evidence_weights), factor)
    moved = graph.apply("Mul", weight, graph.plus(known[0], -np.asarray(team_filter.prior.mean)))
    return _outputs(
        graph, size, ("evidence", "weight", "precision"), (graph.apply("Add", beside, moved), weight, precision)
    )


def predict_graph(predictor: PredictorNetwork) -> bytes:
    """`filter_predict`: what is known at one step, of the next one."""
    graph, prior, size = Graph("filter_predict"), predictor.prior, len(predictor.prior.mean)
    mean, *sure = known = _inputs(graph, size)
    x = _in_numbers(graph, known, prior)
    for weights, bias in zip(predictor.weights[:-1], predictor.biases[:-1], strict=True):
        x = graph.activated(graph.plus(graph.times(x, weights), bias), "relu")
    x = graph.plus(graph.times(x, predictor.weights[-1]), predictor.biases[-1])
    move, *parts = (graph.columns(x, at * size, (at + 1) * size) for at in range(5))
    number, one = np.asarray(prior.types.is_number, np.float32), graph.constant(np.ones(size))
    widened = []
    for precision, gain, noise in zip(sure, parts[:2], parts[2:], strict=True):
        before = graph.apply("Div", graph.apply("Exp", gain), where(graph, number, precision, one))
        added = graph.scaled(graph.apply("Exp", noise), 1.0 / np.asarray(prior.precision))
        widened.append(graph.scaled(graph.apply("Div", one, graph.apply("Add", before, added)), number))
    others = probabilities(graph, graph.apply("Add", logits(graph, mean, prior.types), move), prior.types)
    moved = where(graph, number, graph.apply("Add", mean, move), others)
    return _outputs(graph, size, KNOWN, (moved, *widened))


def take_in_graph(prior: Prior) -> bytes:
    """`filter_take_in`: what was predicted, and summed answers beside the prior's mean, to what is known."""
    graph, size = Graph("filter_take_in"), len(prior.mean)
    mean, *before = _inputs(graph, size)
    evidence, *told = (graph.input(name, size) for name in ("evidence", "told_weight", "told_precision"))
    number, one = np.asarray(prior.types.is_number, np.float32), graph.constant(np.ones(size))
    beside = graph.apply("Mul", told[0], graph.plus(mean, -np.asarray(prior.mean)))
    evidence = graph.apply("Sub", evidence, beside)
    weight, precision = (graph.apply("Add", *pair) for pair in zip(before, told, strict=True))
    news = graph.apply("Div", evidence, where(graph, number, weight, one))
    others = probabilities(graph, graph.apply("Add", logits(graph, mean, prior.types), evidence), prior.types)
    return _outputs(
        graph, size, KNOWN, (where(graph, number, graph.apply("Add", mean, news), others), weight, precision)
    )


def carried_hop_graph(chain: ChainFilter) -> bytes:
    """`filter_hop`: a history, y, and whether the speaker is the step's first, to the next message."""
    graph, size = Graph("filter_hop"), len(chain.prior.mean)
    history, y = graph.input("history", len(chain.reader.history_minimum)), graph.input("y", size)
    x = _read(graph, chain.reader, history, graph.apply("Concat", y, graph.input("first", 1), axis=1))
    change = graph.times(x, chain.change_weights)
    if chain.gate_weights is not None and chain.gate_bias is not None:
        proposed = graph.plus(change, np.asarray(chain.prior.mean))
        change = _gated(graph, x, y, proposed, chain.gate_weights, chain.gate_bias)
    return _outputs(graph, size, ("state",), (graph.apply("Add", y, change),))


def chain_hop_graph(chain: ChainNetwork) -> bytes:
    """`chain_hop`: a history, and y, to the next message of the gated chain."""
    graph, size = Graph("chain_hop"), chain.state_size
    history, y = graph.input("history", len(chain.history_minimum)), graph.input("y", size)
    limits = np.asarray(chain.history_minimum), np.asarray(chain.history_maximum)
    context = _context(graph, history, limits, chain.history_weights, np.asarray(chain.biases))
    x = _hidden(graph, context, y, chain.state_weights, chain.biases.shape[1], chain.activation)
    proposed = graph.plus(graph.times(x, chain.message_weights), chain.message_bias)
    change = _gated(graph, x, y, proposed, chain.gate_weights, chain.gate_bias)
    return _outputs(graph, size, ("state",), (graph.apply("Add", y, change),))


def _inputs(graph: Graph, size: int) -> Known:
    mean, weight, precision = (graph.input(name, size) for name in KNOWN)
    return mean, weight, precision


def _outputs(graph: Graph, size: int, names: tuple[str, ...], tensors: tuple[str, ...]) -> bytes:
    for name, tensor in zip(names, tensors, strict=True):
        graph.output(f"new_{name}" if name in KNOWN else name, tensor, size)
    return graph.serialized()


def _in_numbers(graph: Graph, known: Known, prior: Prior) -> str:
    """`reader.in_numbers`: means, and of numbers ¼ log of weights over the prior's."""
    (places,) = np.nonzero(prior.types.is_number)
    if not len(places):
        return known[0]
    weight = graph.apply("Gather", known[1], graph.whole_numbers(places.tolist()), axis=1)
    relative = graph.apply("Log", graph.scaled(weight, 1.0 / np.asarray(prior.precision)[places]))
    return graph.apply("Concat", known[0], graph.scaled(relative, 1.0 / LOGARITHM_SCALE), axis=1)


def _read(graph: Graph, reader: Reader, history: str, known: str) -> str:
    """The last hidden layer of a `Reader`."""
    limits = np.asarray(reader.history_minimum), np.asarray(reader.history_maximum)
    context = _context(graph, history, limits, reader.history_weights, np.asarray(reader.biases))
    return _hidden(graph, context, known, reader.known_weights, reader.width, reader.activation)


def _context(graph: Graph, history: str, limits: tuple[np.ndarray, np.ndarray], weights, biases: np.ndarray) -> str:
    """V_l τ + b_l of every layer, side by side."""
    low, high = limits
    scaled = graph.apply("Div", graph.plus(history, -low), graph.constant(high - low))
    return graph.plus(graph.times(scaled, weights), biases.reshape(-1))


def _hidden(graph: Graph, context: str, x: str, weights, width: int, activation: str) -> str:
    """x_l = a(x_{l−1} W_l + c_l)."""
    for layer, matrix in enumerate(weights):
        condition = graph.columns(context, layer * width, (layer + 1) * width)
        x = graph.activated(graph.apply("Add", graph.times(x, matrix), condition), activation)
    return x


def _gated(graph: Graph, x: str, y: str, proposed: str, weights, bias) -> str:
    """σ(4 a − 1) ∘ (m − y)."""
    asked = graph.scaled(graph.plus(graph.times(x, weights), bias), 4.0)
    gate = graph.apply("Sigmoid", graph.plus(asked, -1.0))
    return graph.apply("Mul", gate, graph.apply("Sub", proposed, y))
