"""The checks of composite diffusion: is a sample stable, and do all agents agree with it? (A.6, step 2)

1. Stability: |λ_max(J)| < 1 at the last n elements of the path, n the number of participants.
2. Agreement: max_i ‖φ_∞(τ_i)(y^(L)) − y^(L)‖ < 2 D_φ.
3. Ours: the last sweep as one map is stable, |λ_max(J_n ⋯ J_1)| < 1, since a product of stable Jacobians need not be.

J_m = ∂f(τ_{i_m}, ·)/∂y is taken at the state that agent i_m *received* in the last sweep, y^(L−n+m−1), which it
denoises. The paper counts the elements one later and does not say whose denoiser it means; with this choice the same
Jacobians, multiplied in speaking order, are the chain rule for the last sweep. Where the sweep has settled, the two
sets of elements are the same.

What passing means: Theorem 7's bound D_φ does not follow from the checks, and two
agents can both be stable and near while the composite ends further away. An error below 3 D_φ follows **if** each
agent's fixed point lies within D_φ of the true state, which no check can see. `measure_reliability` measures it.

Cost: `state` tangents per participant and sample, all as matrix products; on a processor, those of a ReLU network go
through its active units alone, and once for all samples that have settled at one state (`relu_jacobian`). Stability
is decided by a rigorous bound from matrix products; eigenvalues are computed only where that leaves it open. The host
packs what is left to do, so neither function can be traced by a caller's `jit`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.certificate.sweep_radii import Method, last_sweep_radii
from composite_flow.composite.reconstruct import Estimate
from composite_flow.composite.rule import DEFINITION_6
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, TOLERANCE, settle_teams
from composite_flow.validation import check_histories


class Certificate(eqx.Module):
    """The checks of one estimate's samples; any leading axes are batch axes.

    Attributes:
        agents: the participants in the speaking order of the last sweep; the order of the last axis below.
        radii: spectral radius of each one's Jacobian where it spoke last.
        bounded: where `radii` holds a rigorous upper bound below one instead of the radius itself.
        composite_radius: spectral radius of the last sweep as one map.
        distances: how far each one's own flow, started from the sample, ends from it, in units of the scaled state.
        settled: whether that flow converged.
        radius: D_φ.
    """

    agents: Int[Array, "*batch participants"]
    radii: Float[Array, "*batch samples participants"]
    bounded: Bool[Array, "*batch samples participants"]
    composite_radius: Float[Array, "*batch samples"]
    distances: Float[Array, "*batch samples participants"]
    settled: Bool[Array, "*batch samples participants"]
    radius: Float[Array, "*batch"]

    @property
    def stable(self) -> Bool[Array, "*batch samples"]:
        """Condition 1 of the paper."""
        return jnp.all(self.radii < 1.0, axis=-1)

    @property
    def agreed(self) -> Bool[Array, "*batch samples"]:
        """Condition 2 of the paper, all flows converged."""
        near = self.distances < 2.0 * self.radius[..., None, None]
        return jnp.all(near & self.settled, axis=-1)

    @property
    def composite_stable(self) -> Bool[Array, "*batch samples"]:
        """Our own condition 3."""
        return self.composite_radius < 1.0

    @property
    def accepted_by_paper(self) -> Bool[Array, "*batch samples"]:
        """Conditions 1 and 2."""
        return self.stable & self.agreed

    @property
    def accepted(self) -> Bool[Array, "*batch samples"]:
        """All three conditions."""
        return self.accepted_by_paper & self.composite_stable

    def reasons(self) -> tuple[str, ...]:
        """A sentence or more for each sample of one estimate: accepted, or every condition it failed and where."""
        if self.radii.ndim != 2:
            return tuple(text for one in _unstacked(self) for text in one.reasons())
        return tuple(_reason(jax.device_get(self), sample) for sample in range(self.radii.shape[0]))


def certify(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    estimate: Estimate,
    *,
    radius: float | ConformalRadius,
    exact: bool = False,
    dense_limit: int = 256,
    depth: int = 20,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    key: PRNGKeyArray | None = None,
) -> Certificate:
    """Check every sample of an estimate (A.6, step 2; see the module for the conditions).

    Args:
        denoiser: the one that made the estimate.
        histories: the joint history that it was made from, all agents.
        estimate: from `reconstruct`.
        radius: D_φ in units of the scaled state, from `measured_radius`, by hand, or a conformal radius; what each kind
            of these means for condition 2 stands in `composite_flow.certificate.radius`.
        exact: report every spectral radius itself, also where a bound already decides that it is below one.
        dense_limit: larger states are checked by Jacobian-vector products alone (Arnoldi); each radius is then the
            estimate plus its residual, no rigorous bound.
        depth: Krylov depth of the matrix-free method.
        tolerance: an agent's own flow has converged where a step is shorter.
        max_steps: of each agent's own flow.
        key: start vectors of the matrix-free method; always the same ones by default.

    Raises:
        InputError: if the histories or the radius cannot be used, or the estimate is of another rule than Definition 6.

    Source: appendix A.6, Theorem 7; of A.6 it is step 2, and Theorem 7 does not follow from the checks.
    """
    histories = check_histories(denoiser, histories, axes=2)
    batch = histories[None], jax.tree.map(lambda leaf: leaf[None], estimate)
    options = {"exact": exact, "dense_limit": dense_limit, "depth": depth, "tolerance": tolerance}
    verdict = certify_batch(denoiser, *batch, radius=radius, max_steps=max_steps, key=key, **options)
    return jax.tree.map(lambda leaf: leaf[0], verdict)


def certify_batch(
    denoiser: Denoiser,
    histories: Float[Array, "batch agents history"],
    estimates: Estimate,
    *,
    radius: float | ConformalRadius,
    exact: bool = False,
    dense_limit: int = 256,
    depth: int = 20,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    key: PRNGKeyArray | None = None,
) -> Certificate:
    """`certify` the estimates of `reconstruct_batch`; arguments as there."""
    _refuse_other_rules(estimates)
    histories = check_histories(denoiser, histories, axes=3)
    limit = jnp.full(len(histories), check_radius(radius), jnp.float32)
    agents = jax.vmap(lambda one: one.last_order)(estimates)
    spoken = jnp.take_along_axis(histories, agents[:, :, None], axis=1)
    method = Method(exact, denoiser.state_size <= dense_limit, depth)
    radii = last_sweep_radii(denoiser, spoken, estimates.path, jax.random.key(0) if key is None else key, method)
    ends, settled = settle_teams(denoiser, spoken, estimates.samples, tolerance=tolerance, max_steps=max_steps)
    distances = np.linalg.norm(ends - np.asarray(estimates.samples)[:, :, None], axis=-1)
    return Certificate(agents, *radii, jnp.asarray(distances), jnp.asarray(settled), limit)


def _refuse_other_rules(estimates: Estimate) -> None:
    """Refuse estimates whose hops are not those of Definition 6, which the conditions are about."""
    if estimates.rule != type(DEFINITION_6).__name__:
        raise InputError(
            f"These checks hold for Definition 6 alone, and this estimate is by the rule {estimates.rule}: reconstruct "
            "without `rule` to have it checked."
        )


def _unstacked(certificate: Certificate) -> list[Certificate]:
    host = jax.device_get(certificate)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(host.radii.shape[0])]


def _reason(certificate: Certificate, sample: int) -> str:
    """What a person should know about one sample's verdict."""
    limit, complaints = 2.0 * float(certificate.radius), []
    radii, distances = np.asarray(certificate.radii)[sample], np.asarray(certificate.distances)[sample]
    for position in np.flatnonzero(~(radii < 1.0)):
        agent = int(certificate.agents[position])
        complaints.append(f"the denoiser of agent {agent} is not stable there: spectral radius {radii[position]:.4g}")
    unsettled = ~np.asarray(certificate.settled)[sample]
    for position in np.flatnonzero(~(distances < limit) | unsettled):
        agent = int(certificate.agents[position])
        if unsettled[position]:
            complaints.append(f"the flow of agent {agent} alone did not converge")
        else:
            far = f"{distances[position]:.4g} away, and the limit 2·D_φ is {limit:.4g}"
            complaints.append(f"agent {agent} alone would end {far}")
    composite = float(certificate.composite_radius[sample])
    if not composite < 1.0:
        complaints.append(f"the sweep as a whole is not stable: spectral radius {composite:.4g}")
    if not complaints:
        return f"Accepted: every agent is stable there and would stay within {limit:.4g}, and so is the sweep."
    return f"Rejected: {'; '.join(complaints)}."
