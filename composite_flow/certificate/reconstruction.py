"""What a team infers and how far to trust it, in the state's own units: an estimate with its checks."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.certificate.checks import Certificate
from composite_flow.certificate.verdict import Names, Verdict, refused
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
        names: of the state's features, and of the agents.
        estimate: the same in scaled units, with samples, order and number of messages.
        certificate: the checks of every sample.
    """

    state: Float[OwnArray, "*batch state"]
    candidates: Float[OwnArray, "*batch candidates state"]
    shares: Float[Array, "*batch candidates"]
    mask: Bool[Array, "*batch candidates"]
    names: Names = eqx.field(static=True)
    estimate: Estimate
    certificate: Certificate

    @classmethod
    def of(cls, estimate: Estimate, certificate: Certificate, scaling: Scaling, names: Names) -> "Reconstruction":
        """From an estimate in scaled units and its checks."""
        return cls(
            state=scaling.unscale(estimate.state),
            candidates=scaling.unscale(estimate.candidates),
            shares=estimate.shares,
            mask=estimate.mask,
            names=names,
            estimate=estimate,
            certificate=certificate,
        )

    @property
    def state_names(self) -> tuple[str, ...]:
        """A name for each feature of the state."""
        return self.names.states

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
        share, count = float(self.shares[0]), int(jnp.sum(self.mask))
        return verdict_of(self.certificate, self._nearest == 0, share, count, self.names)

    @property
    def accepted(self) -> Bool[Array, "*batch"]:
        """Whether every sample that ended nearest to the estimate passed all checks."""
        return jnp.all(self.certificate.accepted | (self._nearest != 0), axis=-1)

    @property
    def _nearest(self) -> Int[Array, "*batch samples"]:
        """The candidate nearest to each sample."""
        return nearest_candidates(self.estimate.samples, self.estimate.candidates, self.mask)

    @property
    def accepted_share(self) -> Float[Array, "*batch"]:
        """Share of the samples that passed all checks."""
        return jnp.mean(self.certificate.accepted, axis=-1)


def nearest_candidates(
    samples: Float[Array, "*batch samples state"],
    candidates: Float[Array, "*batch candidates state"],
    mask: Bool[Array, "*batch candidates"],
) -> Int[Array, "*batch samples"]:
    """The candidate nearest to each sample; those outside the mask are none."""
    distances = jnp.linalg.norm(samples[..., :, None, :] - candidates[..., None, :, :], axis=-1)
    return jnp.argmin(jnp.where(mask[..., None, :], distances, jnp.inf), axis=-1)


def verdict_of(checks: Certificate, chosen: Bool[Array, " samples"], share: float, count: int, names: Names) -> Verdict:
    """The verdict on the likeliest candidate, by the checks of the whole team or of some of its agents.

    Args:
        checks: of every sample.
        chosen: samples that ended nearest to it.
        share: of the samples that it has.
        count: of candidates.
        names: of the agents.
    """
    near = np.asarray(chosen)
    far = ~np.asarray((checks.distances < 2.0 * checks.radius) & checks.settled)[near].all(axis=0)
    if far.any():
        agents = tuple(sorted(np.asarray(checks.agents)[far].tolist()))
        named = ", ".join(map(names.agent, agents))
        return refused("sensors in doubt", agents, f"{named} would leave the state for another one")
    if not np.asarray(checks.accepted)[near].all():
        return refused("unlike training", (), "the state is no stable end of the team's flow")
    if share <= 0.5:
        told = f"{count} candidates, the likeliest with {share:.0%} of the samples"
        return refused("too many candidates", (), told)
    return Verdict(True, "", (), "Accepted.")
