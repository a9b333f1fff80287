"""What a team infers and how far to trust it, in the state's own units: an estimate with its checks."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.certificate.checks import Certificate
from composite_flow.certificate.verdict import Verdict, refused
from composite_flow.composite.reconstruct import Estimate
from composite_flow.data.angles import named_values
from composite_flow.data.scaling import OwnArray, Scaling
from composite_flow.errors import InputError


class Reconstruction(eqx.Module):
    """An estimate with its checks, in the state's own units; any leading axes are batch axes.

    Attributes:
        state: the candidate that most samples reached.
        candidates: the distinct end points, most frequent first.
        shares: each candidate's share of the samples.
        mask: which rows of `candidates` are filled.
        state_names: a name for each feature of the state.
        estimate: the same in scaled units, with samples, order and number of messages.
        certificate: the checks of every sample.
    """

    state: Float[OwnArray, "*batch state"]
    candidates: Float[OwnArray, "*batch candidates state"]
    shares: Float[Array, "*batch candidates"]
    mask: Bool[Array, "*batch candidates"]
    state_names: tuple[str, ...] = eqx.field(static=True)
    estimate: Estimate
    certificate: Certificate

    @classmethod
    def of(
        cls, estimate: Estimate, certificate: Certificate, scaling: Scaling, state_names: tuple[str, ...]
    ) -> "Reconstruction":
        """From an estimate in scaled units and its checks."""
        return cls(
            state=scaling.unscale(estimate.state),
            candidates=scaling.unscale(estimate.candidates),
            shares=estimate.shares,
            mask=estimate.mask,
            state_names=state_names,
            estimate=estimate,
            certificate=certificate,
        )

    @property
    def named_state(self) -> dict[str, Any]:
        """The state by the names of its features: a number each, or a list of them along the batch axes.

        An angle stands there under its own name, in place of its sine and cosine.
        """
        return named_values(self.state_names, self.state)

    @property
    def verdict(self) -> Verdict:
        """Whether this one estimate is to be used, and if not, why.

        Sensors are in doubt where agents would leave the state; it is unlike training where it is not stable; there are
        too many candidates where none has more than half of the samples.

        Raises:
            InputError: these are many estimates.
        """
        if self.mask.ndim != 1:
            raise InputError("A verdict is about one estimate; of many ask `accepted`.")
        checks, nearest = self.certificate, np.asarray(self._nearest) == 0
        far = ~np.asarray((checks.distances < 2.0 * checks.radius) & checks.settled)[nearest].all(axis=0)
        if far.any():
            agents = tuple(sorted(np.asarray(checks.agents)[far].tolist()))
            named = ", ".join(f"agent {agent}" for agent in agents)
            return refused("sensors in doubt", agents, f"{named} would leave the state for another one")
        if not self.accepted:
            return refused("unlike training", (), "the state is no stable end of the team's flow")
        if float(self.shares[0]) <= 0.5:
            count = int(np.sum(np.asarray(self.mask)))
            told = f"{count} candidates, the likeliest with {float(self.shares[0]):.0%} of the samples"
            return refused("too many candidates", (), told)
        return Verdict(True, "", (), "Accepted.")

    @property
    def accepted(self) -> Bool[Array, "*batch"]:
        """Whether every sample that ended nearest to the estimate passed all checks."""
        return jnp.all(self.certificate.accepted | (self._nearest != 0), axis=-1)

    @property
    def _nearest(self) -> Int[Array, "*batch samples"]:
        """The candidate nearest to each sample."""
        samples, candidates = self.estimate.samples[..., :, None, :], self.estimate.candidates[..., None, :, :]
        distances = jnp.linalg.norm(samples - candidates, axis=-1)
        return jnp.argmin(jnp.where(self.mask[..., None, :], distances, jnp.inf), axis=-1)

    @property
    def accepted_share(self) -> Float[Array, "*batch"]:
        """Share of the samples that passed all checks."""
        return jnp.mean(self.certificate.accepted, axis=-1)
