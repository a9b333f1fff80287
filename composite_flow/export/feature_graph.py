"""What graphs have in common that tell of features: how likely, how sure, log-odds, and one of two by their type."""

import numpy as np

from composite_flow.export.graph import Graph
from composite_flow.fusion.answers import SMALLEST_FREQUENCY
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.network import LARGEST_EXPONENT


def probabilities(graph: Graph, logits: str, types: FeatureTypes) -> str:
    """Of binary features and groups; of numbers anything."""
    found, size = graph.apply("Sigmoid", logits), types.size
    for first, stop in types.groups:
        chances = graph.apply("Softmax", graph.columns(logits, first, stop), axis=1)
        parts = [graph.columns(found, 0, first)] if first else []
        parts += [chances, *([graph.columns(found, stop, size)] if stop < size else [])]
        found = graph.apply("Concat", *parts, axis=1)
    return found


def logits(graph: Graph, mean: str, types: FeatureTypes) -> str:
    """`fusion.answers.logits_of`: log-odds of binary features, log-probabilities of groups; of numbers anything."""
    limits = graph.constant(SMALLEST_FREQUENCY), graph.constant(1.0 - SMALLEST_FREQUENCY)
    frequency = graph.apply("Clip", mean, *limits)
    others = graph.apply("Log", graph.apply("Sub", graph.constant(np.ones(types.size)), frequency))
    alone = graph.scaled(others, np.where(types.in_group, 0.0, 1.0))
    return graph.apply("Sub", graph.apply("Log", frequency), alone)


def sureness(graph: Graph, said: str) -> str:
    """exp(clip(4 x, ±12)), of which precisions and weights are made."""
    limits = graph.constant(-LARGEST_EXPONENT), graph.constant(LARGEST_EXPONENT)
    return graph.apply("Exp", graph.apply("Clip", graph.scaled(said, 4.0), *limits))


def where(graph: Graph, chosen: np.ndarray, one: str, other: str) -> str:
    """One where it is chosen, the other elsewhere; both are finite."""
    chosen = np.asarray(chosen, np.float32)
    return graph.apply("Add", graph.scaled(one, chosen), graph.scaled(other, 1.0 - chosen))
