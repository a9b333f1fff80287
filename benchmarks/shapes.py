"""The sizes that every workload shares, and how many floating-point operations each needs.

    product (m, k) by (k, n)        2 m k n, two for each multiply-add
    denoise, one noisy state        2 (d w + (L − 1) w² + w d)
    condition, one history          2 h L w
    training, one sample            3 (condition + denoise): forward, and twice that for the gradients
    reconstruction, one team        n condition + n S K denoise
    certification, one sample       n d denoise: n Jacobians, each as d products through the network

with d features of the state, h history columns, L hidden layers of w units, n agents, S sweeps, K samples.
Activations, the optimiser, eigenvalues, random numbers and the steps towards each agent's fixed point count as
nothing, so a share of the matrix-product rate is a lower bound on how busy the machine was.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shapes:
    """The paper's network on a 5×5 sensor network."""

    state: int = 40
    history: int = 30
    width: int = 1024
    depth: int = 6
    batch: int = 512
    agents: int = 25
    samples: int = 16
    sweeps: int = 6
    teams: int = 32  # joint histories at once; teams · samples = batch

    @property
    def denoise(self) -> int:
        """Operations to denoise one noisy state."""
        return 2 * (2 * self.state * self.width + (self.depth - 1) * self.width**2)

    @property
    def condition(self) -> int:
        """Operations to condition on one history, at every hidden layer."""
        return 2 * self.history * self.depth * self.width

    def operations(self, workload: str) -> int:
        """Operations for one item of a workload."""
        per_item = {
            "matmul": self.condition + self.denoise,
            "training": 3 * (self.condition + self.denoise),
            "reconstruction": self.agents * (self.condition + self.sweeps * self.samples * self.denoise),
            "certification": self.agents * self.state * self.denoise,
        }
        return per_item[workload]

    def items(self, workload: str) -> int:
        """Items that one call of a workload handles."""
        per_call = {
            "matmul": self.batch,
            "training": self.batch,
            "reconstruction": self.teams,
            "certification": self.samples,
        }
        return per_call[workload]


WORKLOADS = {
    "matmul": "samples/s",
    "training": "samples/s",
    "reconstruction": "reconstructions/s",
    "certification": "certified samples/s",
}
