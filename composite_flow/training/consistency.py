"""Training of the network that judges whether an agent's history goes with what the others say.

It tells an agent's history from another one in its place: of another moment of the same episode, of another episode,
or of another agent at the same moment, a third each. The others are all agents, or a random part of them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.consistency import Consistency, others_of
from composite_flow.fusion.familiar import Familiar
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.training.config import TrainingConfig
from composite_flow.training.loss import arrays_of
from composite_flow.training.optimiser import Task, initial_state, steps_in_parts
from composite_flow.training.progress import Progress

_TRAINING = TrainingConfig(learning_rate=1e-3, warmup=200, average=0.99)
_HISTORIES, _FEWEST = 320, 16  # that a step judges, about; joint histories of a step at least
_FARTHEST = 24  # steps to another moment
_AT_ONCE = 200  # training steps


class Elsewhen(JointSteps):
    """Joint histories beside those of another moment of the same episode, where it has one."""

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch two agents history"], Float[Array, "batch state"]]:
        """Both joint histories, and the states of the first; drawn as in `JointSteps`."""
        key_steps, key_shift, key_side = jax.random.split(key, 3)
        windows, steps = self.dataset.windows, self.dataset.drawn_steps(key_steps, batch)
        shift = jax.random.randint(key_shift, (batch,), 1, _FARTHEST + 1)
        shift = jnp.where(jax.random.bernoulli(key_side, 0.5, (batch,)), shift, -shift)
        one, two = steps + shift, steps - shift
        inside = (one >= 0) & (one < windows.num_steps)
        same = inside & (windows.episode_of_step[jnp.where(inside, one, 0)] == windows.episode_of_step[steps])
        other = jnp.clip(jnp.where(same | (two < 0) | (two >= windows.num_steps), one, two), 0, windows.num_steps - 1)
        here, elsewhen = windows.joint(steps), windows.joint(other)
        return jnp.stack([here.histories, elsewhen.histories], axis=1), here.states


class Learning(eqx.Module):
    """The network in training, and the answers that it reads, which stay as they are."""

    network: Consistency
    answers: AnswerNetwork


def learn_consistency(
    answers: AnswerNetwork,
    familiar: Familiar,
    train: HistoryDataset,
    steps: int,
    *,
    key: PRNGKeyArray,
    progress: Progress | None = None,
) -> Consistency:
    """Train the network for some steps.

    Args:
        answers: what agents say; not trained.
        familiar: with the range of histories.
        train: the training data.
        steps: of training; thousands.
        key: initial weights and batches.
        progress: called now and then with the step, the planned steps and the loss.

    Raises:
        InputError: there is one agent alone, or the loss is not finite.
    """
    if answers.num_agents < 2:
        raise InputError("A single agent's history goes with nobody's; this is learned of two agents and more.")
    key_data, key_network, key_steps = jax.random.split(key, 3)
    samples = Elsewhen(train.resident(key_data, int(1e9 * _TRAINING.resident_gigabytes)))
    batch = max(_FEWEST, _HISTORIES // answers.num_agents)
    schedule = _TRAINING.rate_schedule(steps)
    task = Task(arrays_of(samples), key_steps, schedule, batch, _TRAINING.average, consistency_losses)
    network = Consistency(familiar, answers.prior, answers.num_agents, key=key_network)
    # copies, since steps reuse the buffers of what they change
    learning = jax.tree.map(jnp.copy, Learning(network, answers))
    last = state = initial_state(learning, averaged=True)
    for done, loss, last in steps_in_parts(task, state, steps, _AT_ONCE):  # noqa: B007 (it is returned)
        if progress is not None:
            progress(done, steps, loss)
    return last.denoiser.network


def consistency_losses(
    learning: Learning,
    histories: Float[Array, "batch two agents history"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """softplus(−T) of agents' own histories and softplus(T) of those in their place, averaged over agents."""
    network, answers = learning.network, jax.lax.stop_gradient(learning.answers)
    key_teams, key_wrong = jax.random.split(key)
    here, usual = histories[:, 0], answers.usual()
    wrong = _in_place_of(key_wrong, here, histories[:, 1])
    each, claimed = (jax.vmap(lambda team: answers.answer_each(team, usual))(part) for part in (here, wrong))
    teams = _teams(key_teams, *here.shape[:2]) & jax.vmap(answers.there)(here)
    others = jax.vmap(others_of)(each, teams)
    logit = jax.vmap(jax.vmap(network.logit))
    right, mistaken = logit(here, each, others), logit(wrong, claimed, others)
    return jnp.mean(jax.nn.softplus(-right) + jax.nn.softplus(mistaken), axis=1)


def _teams(key: PRNGKeyArray, batch: int, agents: int) -> Bool[Array, "batch agents"]:
    """Everybody in one half of the steps, and in the other a part of any size."""
    key_kept, key_agents = jax.random.split(key)
    kept = 2.0 * jax.random.uniform(key_kept, (batch, 1))
    return jax.random.uniform(key_agents, (batch, agents)) < kept


def _in_place_of(
    key: PRNGKeyArray, here: Float[Array, "batch agents history"], elsewhen: Float[Array, "batch agents history"]
) -> Float[Array, "batch agents history"]:
    """Another history in the place of each agent's, with its own identity."""
    key_kind, key_row, key_agent = jax.random.split(key, 3)
    batch, agents = here.shape[:2]
    elsewhere = jnp.roll(here, jax.random.randint(key_row, (), 1, max(2, batch)), axis=0)
    turned = jnp.roll(here, jax.random.randint(key_agent, (), 1, agents), axis=1)
    another = turned.at[:, :, -agents:].set(here[:, :, -agents:])
    kind = jax.random.randint(key_kind, (batch, agents, 1), 0, 3)
    return jnp.where(kind == 0, elsewhen, jnp.where(kind == 1, elsewhere, another))
