"""An estimate is accepted where every sample that ended nearest to it is, by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.certificate.checks import Certificate
from composite_flow.certificate.reconstruction import Reconstruction
from composite_flow.certificate.verdict import Names, Verdict
from composite_flow.composite.reconstruct import Estimate
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError

SAMPLES = jnp.array([[0.0, 0.0], [0.05, 0.0], [1.0, 1.0]])  # two ended at the estimate, one at the other candidate


def estimate_of(samples) -> Estimate:
    candidates = jnp.array([[0.0, 0.0], [1.0, 1.0], [0.05, 0.0]])  # the last is not filled, near as it is
    count = jnp.asarray(1)
    return Estimate(
        state=candidates[0],
        candidates=candidates,
        shares=jnp.array([2 / 3, 1 / 3, 0.0]),
        mask=jnp.array([True, True, False]),
        samples=samples,
        path=samples[None],
        order=jnp.zeros((1, 1), jnp.int32),
        sweeps=count,
        messages=count,
        denoiser_calls=count,
    )


def reconstruction_of(stable) -> Reconstruction:
    """One of these samples, of which those pass that are stable."""
    composite = jnp.where(jnp.array(stable), 0.5, 2.0)
    certificate = Certificate(
        agents=jnp.zeros(1, jnp.int32),
        radii=jnp.full((3, 1), 0.5),
        bounded=jnp.zeros((3, 1), bool),
        composite_radius=composite,
        distances=jnp.zeros((3, 1)),
        settled=jnp.ones((3, 1), bool),
        radius=jnp.asarray(0.1),
    )
    scaling = Scaling(jnp.array([0.0, 10.0]), jnp.array([2.0, 20.0]))
    return Reconstruction.of(estimate_of(SAMPLES), certificate, scaling, Names(("speed", "heat")))


CASES = [
    ([True, True, True], True, 1.0),
    ([True, True, False], True, 2 / 3),  # the sample that fails ended elsewhere
    ([True, False, True], False, 2 / 3),
    ([False, True, True], False, 2 / 3),
]


@pytest.mark.parametrize("stable, accepted, share", CASES)
def test_samples_that_ended_elsewhere_do_not_count(stable, accepted, share):
    found = reconstruction_of(stable)
    assert bool(found.accepted) is accepted
    assert float(found.accepted_share) == pytest.approx(share)


def test_leading_axes_are_batch_axes():
    each = [reconstruction_of(stable) for stable, _, _ in CASES]
    found = jax.tree.map(lambda *leaves: jnp.stack(leaves).reshape(2, 2, *leaves[0].shape), *each)
    np.testing.assert_array_equal(found.accepted, [[True, True], [False, False]])
    np.testing.assert_allclose(found.accepted_share, [[1.0, 2 / 3], [2 / 3, 2 / 3]], rtol=1e-6)
    assert found.named_state == {"speed": [[0.0, 0.0], [0.0, 0.0]], "heat": [[10.0, 10.0], [10.0, 10.0]]}


def test_candidates_are_in_the_states_own_units():
    found = reconstruction_of([True, True, True])
    assert found.named_state == {"speed": 0.0, "heat": 10.0}
    np.testing.assert_allclose(found.candidates[1], [2.0, 20.0])
    assert found.shares is found.estimate.shares and dataclasses.is_dataclass(found)


def test_a_verdict_names_the_agents_who_would_leave_the_state():
    sound = reconstruction_of([True, True, True])
    assert sound.verdict == Verdict(True, "", (), "Accepted.")
    unstable = reconstruction_of([True, False, True]).verdict
    assert (unstable.accepted, unstable.reason, unstable.agents) == (False, "unlike training", ())
    elsewhere = reconstruction_of([True, True, False]).verdict
    assert elsewhere.accepted  # the sample that fails ended elsewhere
    far = jnp.zeros((3, 2)).at[1, 1].set(0.3)
    two = dataclasses.replace(
        sound.certificate,
        agents=jnp.array([4, 2], jnp.int32),
        radii=jnp.full((3, 2), 0.5),
        bounded=jnp.zeros((3, 2), bool),
        distances=far,
        settled=jnp.ones((3, 2), bool),
    )
    leaving = dataclasses.replace(sound, certificate=two).verdict
    assert (leaving.reason, leaving.agents) == ("sensors in doubt", (2,))
    assert leaving.sentence == "Abstained, sensors in doubt: agent 2 would leave the state for another one."
    called = Names(("speed", "heat"), ("a", "b", "drone", "7", "e"))
    named = dataclasses.replace(sound, certificate=two, names=called)
    assert named.verdict.sentence == leaving.sentence.replace("agent 2", "drone")
    assert "; ".join(two.reasons(called)).count("drone alone would end 0.3 away") == 1
    assert called.agent(3) == "agent 7"  # a number alone is no name
    near = dataclasses.replace(sound, certificate=dataclasses.replace(two, distances=far * 0.5))
    assert near.verdict.accepted  # 0.15 is less than twice the radius
    other = dataclasses.replace(sound, certificate=dataclasses.replace(two, distances=far[jnp.array([0, 2, 1])]))
    assert other.verdict.accepted  # of the sample that ended elsewhere
    divided = dataclasses.replace(sound, shares=jnp.array([0.5, 0.5, 0.0])).verdict
    assert divided.reason == "too many candidates"
    assert divided.sentence == "Abstained, too many candidates: 2 candidates, the likeliest with 50% of the samples."
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), sound)
    with pytest.raises(InputError, match="of many ask `accepted`"):
        many.verdict  # noqa: B018
