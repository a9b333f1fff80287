"""The peer: the same network and algorithms, batched in PyTorch as one would write them first.

Needs PyTorch alone, so that it can run in an environment of its own.
"""

import os
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from benchmarks.shapes import Shapes
from benchmarks.timing import Call, serve

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Network(nn.Module):
    """The denoiser with the history at every hidden layer, as biases computed once per history."""

    def __init__(self, shapes: Shapes):
        super().__init__()
        sizes = [shapes.state] + shapes.depth * [shapes.width]
        self.condition_layer = nn.Linear(shapes.history, shapes.depth * shapes.width)
        self.hidden = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in zip(sizes[:-1], sizes[1:], strict=True))
        self.output = nn.Linear(shapes.width, shapes.state)
        self.depth = shapes.depth

    def condition(self, history: Tensor) -> Tensor:
        """Per-layer biases, (..., depth, width)."""
        return self.condition_layer(history).unflatten(-1, (self.depth, -1))

    def denoise(self, context: Tensor, y: Tensor) -> Tensor:
        """The posterior mean; `context` and `y` share their leading axes or broadcast."""
        for layer, linear in enumerate(self.hidden):
            y = torch.relu(linear(y) + context[..., layer, :])
        return self.output(y)


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def products(shapes: Shapes, workload: str) -> Call:
    """The network's own products and nothing else, for as many rows as the workload has."""
    weights = [torch.randn(pair, device=DEVICE) / pair[0] ** 0.5 for pair in shapes.layers]
    start = torch.randn(shapes.rows(workload), shapes.state, device=DEVICE)

    @torch.no_grad()
    def call():
        y = start
        for _ in range(shapes.passes(workload)):
            for matrix in weights:
                y = y @ matrix
        _wait()

    return call


def training(shapes: Shapes) -> Call:
    """A block of steps of Adam on the denoising loss, their batches drawn from arrays in memory."""
    network = Network(shapes).to(DEVICE)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-4)
    histories = torch.rand(65536, shapes.history, device=DEVICE)
    states = torch.rand(65536, shapes.state, device=DEVICE)

    def step():
        rows = torch.randint(len(states), (shapes.batch,), device=DEVICE)
        history, state = histories[rows], states[rows]
        sigma = torch.rand(shapes.batch, 1, device=DEVICE)
        y = state + sigma * torch.randn_like(state)
        loss = (network.denoise(network.condition(history), y) - state).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    def call():
        for _ in range(shapes.steps):
            step()
        _wait()

    return call


def reconstruction(shapes: Shapes) -> Call:
    """Composite diffusion for many joint histories at once, a fresh order per sweep and joint history."""
    network = Network(shapes).to(DEVICE)
    histories = torch.rand(shapes.teams, shapes.agents, shapes.history, device=DEVICE)
    rows = torch.arange(shapes.teams, device=DEVICE)

    @torch.no_grad()
    def call():
        contexts = network.condition(histories)
        y = torch.randn(shapes.teams, shapes.samples, shapes.state, device=DEVICE)
        for _ in range(shapes.sweeps):
            order = torch.rand(shapes.teams, shapes.agents, device=DEVICE).argsort(-1)
            for hop in range(shapes.agents):
                y = network.denoise(contexts[rows, order[:, hop], None], y)
        _wait()

    return call


def certification(shapes: Shapes) -> Call:
    """The checks of one joint history: radii along the last sweep, of the composite map, nearness of fixed points."""
    network = Network(shapes).to(DEVICE)
    histories = torch.rand(shapes.agents, shapes.history, device=DEVICE)
    each = partial(vmap, in_dims=(None, 0))
    jacobians = vmap(each(jacrev(network.denoise, argnums=1)))
    with torch.no_grad():
        contexts = network.condition(histories)
        y, path = torch.randn(shapes.certified, shapes.state, device=DEVICE), []
        for _ in range(6):
            path = []
            for context in contexts:
                path.append(y)
                y = network.denoise(context, y)
        path, end = torch.stack(path), y

    @torch.no_grad()
    def call():
        contexts = network.condition(histories)
        along = jacobians(contexts, path)
        _ = torch.linalg.eigvals(along).abs().amax(-1)
        composite = along[0]
        for jacobian in along[1:]:
            composite = jacobian @ composite
        _ = torch.linalg.eigvals(composite).abs().amax(-1)
        _fixed_point_distance(network, contexts, end)
        _wait()

    return call


def jacobians_and_radii(shapes: Shapes) -> Call:
    """Jacobians of pairs and all their eigenvalues; what they cost does not depend on which units are active."""
    network = Network(shapes).to(DEVICE)
    histories = torch.rand(shapes.certified * shapes.agents, shapes.history, device=DEVICE)
    points = torch.rand(len(histories), shapes.state, device=DEVICE)
    jacobians = vmap(jacrev(network.denoise, argnums=1))

    @torch.no_grad()
    def call():
        _ = torch.linalg.eigvals(jacobians(network.condition(histories), points)).abs().amax(-1)
        _wait()

    return call


def _fixed_point_distance(network: Network, contexts: Tensor, end: Tensor) -> Tensor:
    """How far each agent's own flow carries each sample before it stands still."""
    y = end.expand(len(contexts), *end.shape)
    for _ in range(200):
        before, y = y, network.denoise(contexts[:, None], y)
        if (y - before).norm(dim=-1).max() < 1e-5:
            break
    return (y - end).norm(dim=-1)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    serve(
        {"library": f"torch {torch.__version__}", "device": DEVICE.type, "threads": torch.get_num_threads()},
        products,
        {
            "training": training,
            "reconstruction": reconstruction,
            "certification": certification,
            "certification, exact": certification,
            "Jacobians and radii": jacobians_and_radii,
            "Jacobians and radii, active units": jacobians_and_radii,
        },
    )
