"""The sizes that every workload shares, and how many floating-point operations each needs.

    product (m, k) by (k, n)        2 m k n, two for each multiply-add
    denoise, one noisy state        2 (d w + (L − 1) w² + w d)
    condition, one history          2 h L w
    training, one sample            3 (condition + denoise): forward, and twice that for the gradients
    reconstruction, one sweep       n condition + n K denoise
    certification, one sample       n d denoise: n Jacobians, each as d products through the network
    Jacobian, one pair              d denoise
    answer, one history             2 (h L w + (L − 1) w² + 3 w d)
    fusion training, one sample     n (3 answer − 2 h L w): nothing needs the gradient by the histories

with d features of the state, h history columns, L hidden layers of w units, n agents, K samples. Activations, the
optimiser, eigenvalues, random numbers, sums over teams and the steps towards each agent's fixed point count as nothing,
so a share of the matrix-product rate is a lower bound on how busy the machine was.

The matrix products that a workload is held against are the network's own, forward, with as many rows as the
workload itself sends through the network at a time.
"""

from dataclasses import dataclass

PRODUCT_OPERATIONS = 1.5e10  # at least, of one measurement of the products: a tenth of a second or more


@dataclass(frozen=True)
class TeamShapes:
    """Answers in SMAX's five against five, as in Table 1: histories of five steps, every feature a number."""

    state: int = 70
    history: int = 485
    width: int = 256
    depth: int = 6
    agents: int = 5
    batch: int = 102  # joint histories of a step of training: as many histories as the denoiser's batch
    steps: int = 15  # of training in a call

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each product of the network; its three heads side by side."""
        hidden = (self.depth - 1) * [(self.width, self.width)]
        return [(self.history, self.depth * self.width), *hidden, (self.width, 3 * self.state)]

    @property
    def answer(self) -> int:
        """Operations of one answer."""
        return sum(2 * inputs * outputs for inputs, outputs in self.layers)

    @property
    def training(self) -> int:
        """Operations to learn from the histories of all agents at one step."""
        return self.agents * (3 * self.answer - 2 * self.history * self.depth * self.width)


@dataclass(frozen=True)
class Shapes:
    """The paper's network on a 5×5 sensor network; calls of half a second or so at 100 GFLOP/s."""

    state: int = 40
    history: int = 30
    width: int = 1024
    depth: int = 6
    agents: int = 25
    batch: int = 512  # pairs of a step of training
    steps: int = 3  # of training in a call
    teams: int = 16  # joint histories reconstructed at once
    samples: int = 16  # of each joint history
    sweeps: int = 1  # in a call; a reconstruction makes six by default
    certified: int = 4  # samples of one joint history that are certified in a call
    team: TeamShapes = TeamShapes()

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each product of the network."""
        sizes = [self.state, *(self.depth * [self.width]), self.state]
        return list(zip(sizes[:-1], sizes[1:], strict=True))

    @property
    def denoise(self) -> int:
        """Operations to denoise one noisy state."""
        return sum(2 * inputs * outputs for inputs, outputs in self.layers)

    @property
    def condition(self) -> int:
        """Operations to condition on one history, at every hidden layer."""
        return 2 * self.history * self.depth * self.width

    def operations(self, workload: str) -> int:
        """Operations for one item of a workload."""
        certification = self.agents * self.state * self.denoise
        return {
            "training": 3 * (self.condition + self.denoise),
            "fusion training": self.team.training,
            "fusion training, torch.compile": self.team.training,
            "reconstruction": self.agents * (self.condition + self.samples * self.denoise),
            "certification": certification,
            "certification, exact": certification,
            "Jacobians and radii": self.state * self.denoise,
            "Jacobians and radii, active units": self.state * self.denoise,
        }[workload]

    def items(self, workload: str) -> int:
        """Items that one call of a workload handles."""
        return {
            "training": self.batch * self.steps,
            "fusion training": self.team.batch * self.team.steps,
            "fusion training, torch.compile": self.team.batch * self.team.steps,
            "reconstruction": self.teams * self.sweeps,
            "certification": self.certified,
            "certification, exact": self.certified,
            "Jacobians and radii": self.agents * self.certified,
            "Jacobians and radii, active units": self.agents * self.certified,
        }[workload]

    def rows(self, workload: str) -> int:
        """Rows that pass through the network together."""
        tangents = self.agents * self.certified * self.state
        return {
            "training": self.batch,
            "fusion training": self.team.batch * self.team.agents,
            "fusion training, torch.compile": self.team.batch * self.team.agents,
            "reconstruction": self.teams * self.samples,
            "certification": tangents,
            "certification, exact": tangents,
            "Jacobians and radii": tangents,
            "Jacobians and radii, active units": tangents,
        }[workload]

    def network(self, workload: str) -> list[tuple[int, int]]:
        """Inputs and outputs of each product of the network that a workload runs."""
        return self.team.layers if workload.startswith("fusion") else self.layers

    def one_pass(self, workload: str) -> int:
        """Operations of one row's pass through that network."""
        return sum(2 * inputs * outputs for inputs, outputs in self.network(workload))

    def passes(self, workload: str) -> int:
        """Passes through the network in one measurement of the products."""
        return max(1, round(PRODUCT_OPERATIONS / (self.rows(workload) * self.one_pass(workload))))


WORKLOADS = {
    "training": "samples/s",
    "fusion training": "joint histories/s",
    "fusion training, torch.compile": "joint histories/s",
    "reconstruction": "sweeps/s",
    "certification": "samples/s",
    "certification, exact": "samples/s",
    "Jacobians and radii": "pairs/s",
    "Jacobians and radii, active units": "pairs/s",
}

# Shares of each layer's units that were active at the fixed points of a trained network (5×5 sensors, two targets,
# width 256); an untrained network has half of them.
TRAINED_ACTIVITY = (0.47, 0.045, 0.42, 0.11, 0.21, 0.03)
