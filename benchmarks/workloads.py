"""This package's own workloads, at the sizes of `benchmarks/shapes.py`, on random data and untrained weights."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from benchmarks.shapes import TRAINED_ACTIVITY, Shapes, TeamShapes
from benchmarks.timing import Call, serve
from composite_flow.certificate.checks import certify
from composite_flow.composite.reconstruct import reconstruct, reconstruct_batch
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.loss import fusion_losses
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.jacobian import state_jacobian
from composite_flow.network import Network
from composite_flow.numerics.spectrum import spectral_radius
from composite_flow.relu_jacobian import active_jacobians
from composite_flow.training.loss import pair_losses
from composite_flow.training.optimiser import Schedule, Task, initial_state, train_steps

NUM_PAIRS, NUM_JOINT = 65536, 16384


class RandomPairs(eqx.Module):
    """A dataset in memory: as many arrays as training reads, without a world behind them."""

    histories: Float[Array, "pairs *history"]
    states: Float[Array, "pairs state"]

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch *history"], Float[Array, "batch state"]]:
        """Pairs drawn with replacement."""
        rows = jax.random.randint(key, (batch,), 0, len(self.states))
        return self.histories[rows], self.states[rows]


def _network(shapes: Shapes) -> Network:
    return Network(shapes.history, shapes.state, shapes.width, shapes.depth, key=jax.random.key(0))


def products(shapes: Shapes, workload: str) -> Call:
    """The network's own products and nothing else, for as many rows as the workload has."""
    layers = shapes.network(workload)
    keys = jax.random.split(jax.random.key(0), len(layers) + 1)
    weights = [jax.random.normal(k, pair) / pair[0] ** 0.5 for k, pair in zip(keys[1:], layers, strict=True)]
    y = jax.random.normal(keys[0], (shapes.rows(workload), layers[0][0]))

    def one_pass(_, start, weights):
        y = start
        for matrix in weights:
            y = y[:, : len(matrix)] @ matrix
        return start.at[:, : y.shape[1]].set(y)

    @jax.jit
    def passes(weights, y):
        return jax.lax.fori_loop(0, shapes.passes(workload), partial(one_pass, weights=weights), y)

    return lambda: jax.block_until_ready(passes(weights, y))


def training(shapes: Shapes) -> Call:
    """A block of steps of training: drawing a batch and its noise, the gradient, clipping, Adam."""
    dataset = _random_pairs((NUM_PAIRS, shapes.history), shapes.state)
    return _steps(dataset, _network(shapes), pair_losses, shapes.batch, shapes.steps)


def fusion_training(shapes: Shapes) -> Call:
    """A block of steps of training what agents answer: drawing joint histories and teams, the gradient and the rest."""
    team = shapes.team
    dataset = _random_pairs((NUM_JOINT, team.agents, team.history), team.state)
    return _steps(dataset, _answers(team), fusion_losses, team.batch, team.steps)


def _random_pairs(histories: tuple[int, ...], state: int) -> RandomPairs:
    key_histories, key_states = jax.random.split(jax.random.key(0))
    states = jax.random.uniform(key_states, (histories[0], state))
    return RandomPairs(jax.random.uniform(key_histories, histories), states)


def _answers(team: TeamShapes) -> AnswerNetwork:
    prior = Prior(jnp.full(team.state, 0.5), jnp.full(team.state, 12.0), FeatureTypes((), (), team.state))
    limits, usual = (jnp.zeros(team.history), jnp.ones(team.history)), jnp.full((team.agents, team.history), 0.5)
    return AnswerNetwork(usual, limits, prior, team.width, team.depth, key=jax.random.key(0))


def _steps(dataset: RandomPairs, network, losses: Callable, batch: int, steps: int) -> Call:
    """Blocks of steps of Adam."""
    zero = jnp.array(0.0)
    schedule = Schedule(highest=jnp.array(5e-4), warmup=jnp.array(1.0), per_step=zero, elapsed=zero)
    task = Task(dataset, jax.random.key(1), schedule, batch, 0.0, losses)  # pyright: ignore[reportArgumentType] (steps only sample)
    state = initial_state(network, averaged=False)

    def call():
        nonlocal state
        state = jax.block_until_ready(train_steps(task, state, jnp.array(steps)))

    return call


def reconstruction(shapes: Shapes) -> Call:
    """Composite diffusion for many joint histories at once, a fresh order per sweep and joint history."""
    network = _network(shapes)
    histories = jax.random.uniform(jax.random.key(1), (shapes.teams, shapes.agents, shapes.history))
    settings = {"num_samples": shapes.samples, "num_sweeps": shapes.sweeps, "batch_size": shapes.teams}
    run = partial(reconstruct_batch, network, histories, key=jax.random.key(2), **settings)
    return lambda: jax.block_until_ready(run())


def certification(shapes: Shapes, exact: bool) -> Call:
    """The checks of one joint history's samples; `exact` asks for every eigenvalue where a bound would do.

    The network has as many active units as a trained one.
    """
    network = _with_activity(_network(shapes), TRAINED_ACTIVITY)
    histories = jax.random.uniform(jax.random.key(1), (shapes.agents, shapes.history))
    estimate = reconstruct(network, histories, key=jax.random.key(2), num_samples=shapes.certified)
    run = partial(certify, network, histories, estimate, radius=0.1, exact=exact)
    return lambda: jax.block_until_ready(run())


def jacobians_and_radii(shapes: Shapes, active: bool) -> Call:
    """Jacobians of the agents' pairs at a few states, and every spectral radius by all eigenvalues.

    `active` gives the network as many active units as a trained one has, and leaves the others out.
    """
    key_history, key_agents, key_state = jax.random.split(jax.random.key(1), 3)
    network = _with_activity(_network(shapes), TRAINED_ACTIVITY) if active else _network(shapes)
    # so alike that a group needs 8% of the operations, as the agents of one state did in that trained network
    shared = jax.random.uniform(key_history, (shapes.certified, 1, shapes.history))
    own = jax.random.uniform(key_agents, (shapes.certified, shapes.agents, shapes.history))
    histories = jnp.reshape(0.45 * shared + 0.55 * own, (-1, shapes.history))
    points = jnp.repeat(jax.random.uniform(key_state, (shapes.certified, shapes.state)), shapes.agents, axis=0)
    radii = jax.jit(spectral_radius)

    def jacobians():
        return jnp.asarray(active_jacobians(network, histories, points))

    run = jacobians if active else partial(_jacobians, network, histories, points)
    return lambda: jax.block_until_ready(radii(run()))


@eqx.filter_jit
def _jacobians(network, histories, points):
    return jax.vmap(lambda history, y: state_jacobian(network, network.condition(history), y))(histories, points)


def _with_activity(network: Network, shares: tuple[float, ...]) -> Network:
    """The network with biases that let these shares of each layer's units be active at random points."""
    key_history, key_state = jax.random.split(jax.random.key(3))
    contexts = jax.vmap(network.condition)(jax.random.uniform(key_history, (256, network.history_size)))
    y, biases = jax.random.uniform(key_state, (256, network.state_size)), []
    for layer, (weights, share) in enumerate(zip(network.state_weights[:-1], shares, strict=True)):
        inputs = y @ weights + contexts[:, layer]
        biases.append(-jnp.quantile(inputs, 1 - share))
        y = jax.nn.relu(inputs + biases[-1])
    return eqx.tree_at(lambda n: n.biases, network, network.biases + jnp.stack(biases)[:, None])


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")  # as PyTorch's default: full float32 on a GPU too
    workloads = {
        "training": training,
        "fusion training": fusion_training,
        "fusion training, torch.compile": fusion_training,
        "reconstruction": reconstruction,
        "certification": partial(certification, exact=False),
        "certification, exact": partial(certification, exact=True),
        "Jacobians and radii": partial(jacobians_and_radii, active=False),
        "Jacobians and radii, active units": partial(jacobians_and_radii, active=True),
    }
    serve({"library": f"jax {jax.__version__}", "device": jax.default_backend()}, products, workloads)
