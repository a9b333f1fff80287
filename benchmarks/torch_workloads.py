"""The peer: the same network and algorithms, batched in PyTorch as one would write them first.

Needs PyTorch alone, so that it can run in an environment of its own.
"""

import os
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from benchmarks.shapes import Shapes, TeamShapes
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


class AnswerNetwork(nn.Module):
    """What each agent answers: the same network, read beside what it says of the agent's mean history."""

    def __init__(self, team: TeamShapes):
        super().__init__()
        self.condition_layer = nn.Linear(team.history, team.depth * team.width)
        self.hidden = nn.ModuleList(nn.Linear(team.width, team.width, bias=False) for _ in range(team.depth - 1))
        self.evidence = nn.Linear(team.width, team.state, bias=False)
        self.sureness = nn.Linear(team.width, 2 * team.state)
        for weights in (*self.evidence.parameters(), *self.sureness.parameters()):
            nn.init.zeros_(weights)
        self.depth = team.depth
        self.register_buffer("usual", torch.full((team.agents, team.history), 0.5))

    def read(self, histories: Tensor) -> Tensor:
        """The last hidden layer of each row."""
        biases = self.condition_layer(histories).unflatten(-1, (self.depth, -1))
        x = torch.relu(biases[:, 0])
        for layer, linear in enumerate(self.hidden, start=1):
            x = torch.relu(linear(x) + biases[:, layer])
        return x

    def forward(self, histories: Tensor, precision: Tensor) -> Tensor:
        """η, λ and ρ side by side; (batch, agents, 3 state)."""
        read = self.read(torch.cat([histories.flatten(0, 1), self.usual]))
        here = read[: -len(self.usual)].unflatten(0, histories.shape[:2])
        exponents = torch.clamp(4.0 * self.sureness(here), -12.0, 12.0)
        weight, claim = (torch.exp(exponents).unflatten(-1, (2, -1)) * precision).unbind(-2)
        said = self.evidence(here - read[-len(self.usual) :])
        return torch.cat([weight * said, weight, claim], dim=-1)


def fusion_loss(said: Tensor, states: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """The error of all prefixes of a random order of the agents, and of what they claim of it."""
    batch, agents = said.shape[:2]
    place = torch.rand(batch, 1, agents, device=DEVICE).argsort(-1)
    teams = (place <= torch.arange(agents, device=DEVICE)[:, None]).to(said.dtype)
    evidence, weight, claim = torch.bmm(teams, said).chunk(3, dim=-1)
    error = states[:, None] - (mean + evidence / (precision + weight))
    claimed = precision + claim
    likelihood = 0.5 * (error.detach().square() * claimed - claimed.log())
    return (error.square() + 0.02 * likelihood).sum(-1).mean()


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def products(shapes: Shapes, workload: str) -> Call:
    """The network's own products and nothing else, for as many rows as the workload has."""
    layers = shapes.network(workload)
    weights = [torch.randn(pair, device=DEVICE) / pair[0] ** 0.5 for pair in layers]
    start = torch.randn(shapes.rows(workload), layers[0][0], device=DEVICE)

    @torch.no_grad()
    def call():
        for _ in range(shapes.passes(workload)):
            y = start
            for matrix in weights:
                y = y[:, : len(matrix)] @ matrix
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


def fusion_training(shapes: Shapes, compiled: bool) -> Call:
    """A block of steps of Adam on the loss of fusion, their joint histories drawn from arrays in memory.

    `compiled` takes what PyTorch has to make the same code faster: `torch.compile`, and Adam as one operation.
    """
    team = shapes.team
    network = AnswerNetwork(team).to(DEVICE)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-4, fused=compiled)
    histories = torch.rand(16384, team.agents, team.history, device=DEVICE)
    states = torch.rand(16384, team.state, device=DEVICE)
    mean, precision = torch.full((team.state,), 0.5, device=DEVICE), torch.full((team.state,), 12.0, device=DEVICE)

    def loss_of(histories: Tensor, states: Tensor) -> Tensor:
        return fusion_loss(network(histories, precision), states, mean, precision)

    torch._dynamo.config.suppress_errors = True  # without a C++ compiler it runs as it is
    loss_of = torch.compile(loss_of) if compiled else loss_of

    def step():
        rows = torch.randint(len(states), (team.batch,), device=DEVICE)
        loss = loss_of(histories[rows], states[rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    def call():
        for _ in range(team.steps):
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
            "fusion training": partial(fusion_training, compiled=False),
            "fusion training, torch.compile": partial(fusion_training, compiled=True),
            "reconstruction": reconstruction,
            "certification": certification,
            "certification, exact": certification,
            "Jacobians and radii": jacobians_and_radii,
            "Jacobians and radii, active units": jacobians_and_radii,
        },
    )
