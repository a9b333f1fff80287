"""The graphs of the denoiser: `condition`, all that depends on the history alone, and `denoise`, f(τ, y)."""

import numpy as np

from composite_flow.export.graph import Graph
from composite_flow.network import Network


def condition_graph(network: Network) -> bytes:
    """`condition`: history (batch, history) to context (batch, conditioned · width)."""
    graph, size = Graph("condition"), network.num_conditioned * network.width
    history = graph.input("history", network.history_size)
    low, high = np.asarray(network.history_minimum), np.asarray(network.history_maximum)
    scaled = graph.apply("Div", graph.plus(history, -low), graph.constant(high - low))
    biases = np.asarray(network.biases)[: network.num_conditioned].reshape(-1)
    graph.output("context", graph.plus(graph.times(scaled, network.history_weights), biases), size)
    return graph.serialized()


def denoise_graph(network: Network) -> bytes:
    """`denoise`: context, and y (batch, state), to the posterior mean (batch, state)."""
    graph, width = Graph("denoise"), network.width
    context = graph.input("context", network.num_conditioned * width)
    y = graph.input("y", network.state_size)
    for layer, weights in enumerate(network.state_weights[:-1]):
        y = graph.times(y, weights)
        if layer < network.num_conditioned:
            y = graph.apply("Add", y, graph.columns(context, layer * width, (layer + 1) * width))
        else:
            y = graph.plus(y, network.biases[layer])
        y = graph.activated(y, network.activation)
    mean = graph.plus(graph.times(y, network.state_weights[-1]), network.output_bias)
    graph.output("state", mean, network.state_size)
    return graph.serialized()
