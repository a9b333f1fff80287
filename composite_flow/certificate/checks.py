"""The checks of composite diffusion: is a sample stable, and do all agents agree with it? (A.6, step 2)

1. Stability: |λ_max(J_m)| < 1 for the Jacobians J_1, …, J_n of the last sweep, n the number of participants.
2. Agreement: max_i ‖φ_∞(τ_i)(y^(L)) − y^(L)‖ < 2 D_φ.
3. Stability of the whole sweep, which we add: |λ_max(J_n ⋯ J_1)| < 1. A product of stable Jacobians can be unstable.

J_m = ∂f(τ_{i_m}, ·)/∂y at y^(L−n+m−1), the state that agent i_m *received* in the last sweep. The paper counts these
states one later, and does not say whose denoiser is meant. With our choice the product of the Jacobians in speaking
order is the Jacobian of the last sweep, by the chain rule. Where the sweep has converged, both choices give the same
states.

What an accepted sample means: the bound D_φ of Theorem 7 does not follow from the checks. Two agents can both be stable
and close to a sample while the composite flow ends further away. An error below 3 D_φ follows **if** each agent's fixed
point lies within D_φ of the true state, which no check can verify. `measure_reliability` measures how often accepted
samples are wrong.

Cost: n × `state` Jacobian-vector products for each sample, computed as matrix products. On a CPU, the Jacobians of a
wide ReLU network use its active units alone, and samples that converged to the same state share them (`relu_jacobian`).
A rigorous bound from matrix products decides most cases; eigenvalues are computed only for the others. Part of the work
is arranged on the host, so a caller's `jit` cannot trace these functions.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.certificate.sweep_radii import Method, last_sweep_radii
from composite_flow.certificate.verdict import NAMELESS, Names
from composite_flow.composite.reconstruct import Estimate
from composite_flow.composite.rule import DEFINITION_6
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, TOLERANCE, settle_teams
from composite_flow.numerics.entry_point import entry_point
from composite_flow.validation import check_histories, refuse_traced


class Certificate(eqx.Module):
    """The checks of one estimate's samples; any leading axes are batch axes.

    Attributes:
        agents: the participants in the speaking order of the last sweep. The last axis below has the same order.
        radii: spectral radius of each agent's Jacobian at the state that it received in the last sweep.
        bounded: whether the entry of `radii` is a rigorous upper bound below one instead of the radius itself.
        composite_radius: spectral radius of the Jacobian of the whole last sweep.
        distances: from the sample to the end of each agent's own flow from there, in units of the scaled state.
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
        """Condition 2 of the paper; it also requires that all flows converged."""
        near = self.distances < 2.0 * self.radius[..., None, None]
        return jnp.all(near & self.settled, axis=-1)

    @property
    def composite_stable(self) -> Bool[Array, "*batch samples"]:
        """Condition 3, which the paper does not have."""
        return self.composite_radius < 1.0

    @property
    def accepted_by_paper(self) -> Bool[Array, "*batch samples"]:
        """Conditions 1 and 2."""
        return self.stable & self.agreed

    @property
    def accepted(self) -> Bool[Array, "*batch samples"]:
        """All three conditions."""
        return self.accepted_by_paper & self.composite_stable

    def reasons(self, names: Names = NAMELESS) -> tuple[str, ...]:
        """A sentence for each sample: that it was accepted, or which conditions it failed and for which agents."""
        if self.radii.ndim != 2:
            return tuple(text for one in _unstacked(self) for text in one.reasons(names))
        return tuple(_reason(jax.device_get(self), sample, names) for sample in range(self.radii.shape[0]))


@entry_point
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
    """Check every sample of an estimate (A.6, step 2; the module's docstring states the conditions).

    Args:
        denoiser: f, with which the estimate was made.
        histories: the joint history from which it was made; one row for each agent.
        estimate: from `reconstruct`.
        radius: D_φ in units of the scaled state: from `measured_radius`, a number of your own, or a conformal radius.
            `composite_flow.certificate.radius` says what condition 2 means with each of them.
        exact: compute every spectral radius, also where a bound already shows that it is below one.
        dense_limit: states with more features are checked by Jacobian-vector products alone (Arnoldi). Each radius is
            then an estimate plus its residual, which is not a rigorous bound.
        depth: Krylov depth of the Arnoldi method.
        tolerance: an agent's own flow has converged when a step is shorter than this.
        max_steps: most steps of each agent's own flow.
        key: draws the start vectors of the Arnoldi method; a fixed key by default.

    Returns:
        The checks, with which `accepted` says which samples passed.

    Raises:
        InputError: the histories or the radius cannot be used, or the estimate was not made by Definition 6.

    Source: appendix A.6, Theorem 7; these are the checks of step 2 in A.6, from which Theorem 7 does not follow.
    """
    histories = check_histories(denoiser, histories, axes=2)
    batch = histories[None], jax.tree.map(lambda leaf: leaf[None], estimate)
    options = {"exact": exact, "dense_limit": dense_limit, "depth": depth, "tolerance": tolerance}
    verdict = certify_batch(denoiser, *batch, radius=radius, max_steps=max_steps, key=key, **options)
    return jax.tree.map(lambda leaf: leaf[0], verdict)


@entry_point
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
    """`certify` for the estimates of `reconstruct_batch`; arguments, result and errors as in `certify`."""
    refuse_traced("certify, and Model.reconstruct with it,", (histories, estimates))
    _refuse_other_rules(estimates)
    histories = check_histories(denoiser, histories, axes=3)
    limit = jnp.full(len(histories), check_radius(radius), jnp.float32)
    agents = jax.vmap(lambda one: one.last_order)(estimates)
    spoken = jnp.take_along_axis(histories, agents[:, :, None], axis=1)
    method = Method(exact, denoiser.state_size <= dense_limit, depth)
    radii = last_sweep_radii(denoiser, spoken, estimates.path, jax.random.key(0) if key is None else key, method)
    flows = _ends(denoiser, spoken, estimates.samples, tolerance=tolerance, max_steps=max_steps)
    return Certificate(agents, *radii, *flows, limit)


def certify_agent(
    denoiser: Denoiser,
    agent: int,
    history: Float[Array, " history"],
    received: Float[Array, "samples state"],
    samples: Float[Array, "samples state"],
    *,
    radius: float | ConformalRadius,
    dense_limit: int = 256,
    depth: int = 20,
) -> Certificate:
    """The share of `certify` that one agent can compute from its own history: that of a team of which it is all.

    Args:
        denoiser, radius, dense_limit, depth: as in `certify`.
        agent: its number.
        history: its own.
        received: the states that it received in the last sweep.
        samples: where the samples ended.

    Raises:
        InputError: the history or the radius cannot be used.
    """
    spoken, limit = check_histories(denoiser, history[None], axes=2)[None], check_radius(radius)
    method = Method(False, denoiser.state_size <= dense_limit, depth)
    radii = last_sweep_radii(denoiser, spoken, received[None, None], jax.random.key(0), method)
    flows = _ends(denoiser, spoken, samples[None], tolerance=TOLERANCE, max_steps=MAX_STEPS)
    found = Certificate(jnp.full((1, 1), agent, jnp.int32), *radii, *flows, jnp.full(1, limit, jnp.float32))
    return jax.tree.map(lambda leaf: leaf[0], found)


def _ends(denoiser: Denoiser, spoken, samples, **limits):
    """How far each agent's own flow leads away from each sample, and whether it converged."""
    ends, settled = settle_teams(denoiser, spoken, samples, **limits)
    distances = np.linalg.norm(ends - np.asarray(samples)[:, :, None], axis=-1)
    return jnp.asarray(distances), jnp.asarray(settled)


def _refuse_other_rules(estimates: Estimate) -> None:
    """Raise `InputError` for estimates that were not made by Definition 6, for which the conditions are stated."""
    if estimates.rule != type(DEFINITION_6).__name__:
        raise InputError(
            f"These checks hold for Definition 6 alone, and this estimate is by the rule {estimates.rule}: reconstruct "
            "without `rule` to have it checked."
        )


def _unstacked(certificate: Certificate) -> list[Certificate]:
    """The certificates along the leading axis, on the host."""
    host = jax.device_get(certificate)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(host.radii.shape[0])]


def _reason(certificate: Certificate, sample: int, names: Names) -> str:
    """The sentence of `reasons` for one sample of one estimate."""
    limit, complaints = 2.0 * float(certificate.radius), []
    radii, distances = np.asarray(certificate.radii)[sample], np.asarray(certificate.distances)[sample]
    for position in np.flatnonzero(~(radii < 1.0)):
        agent = names.agent(int(certificate.agents[position]))
        complaints.append(f"the denoiser of {agent} is not stable there: spectral radius {radii[position]:.4g}")
    unsettled = ~np.asarray(certificate.settled)[sample]
    for position in np.flatnonzero(~(distances < limit) | unsettled):
        agent = names.agent(int(certificate.agents[position]))
        if unsettled[position]:
            complaints.append(f"the flow of {agent} alone did not converge")
        else:
            far = f"{distances[position]:.4g} away, and the limit 2·D_φ is {limit:.4g}"
            complaints.append(f"{agent} alone would end {far}")
    composite = float(certificate.composite_radius[sample])
    if not composite < 1.0:
        complaints.append(f"the sweep as a whole is not stable: spectral radius {composite:.4g}")
    if not complaints:
        return f"Accepted: every agent is stable there and would stay within {limit:.4g}, and so is the sweep."
    return f"Rejected: {'; '.join(complaints)}."
