"""How it is learned whom to ask next: from what trained agents answer, which stays as it is."""

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.fuse import add_up
from composite_flow.fusion.joint_steps import JointSteps, TeamSteps
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.next_agent_loss import Answered, next_agent_losses
from composite_flow.fusion.posterior import posterior
from composite_flow.training.config import TrainingConfig
from composite_flow.training.loss import Pairs, arrays_of
from composite_flow.training.stage import Stage

NEXT_AGENT_FILE = "training-next-agent.safetensors"
MOST_STEPS = 3_000
"""Of training, whatever the budget: the network reads what is known already."""
_JUDGED = 1024  # joint histories


class AnsweredSteps(TeamSteps):
    """Samples are what all agents answer at a step, and who is there.

    Attributes:
        answers: not trained.
    """

    answers: AnswerNetwork

    def sample(self, key: PRNGKeyArray, batch: int) -> tuple[Answered, Float[Array, "batch state"]]:
        """Answers and scaled states; drawn as in `JointSteps`."""
        histories, states = JointSteps(self.dataset).sample(key, batch)
        usual = self.answers.usual()
        each = jax.vmap(lambda team: self.answers.answer_each(team, usual))(histories)
        return Answered(each, jax.vmap(self.answers.there)(histories)), states


def next_agent_stage(
    train: HistoryDataset,
    config: TrainingConfig,
    total: int | None,
    joint: int,
    answers: AnswerNetwork,
    number: int,
) -> Stage:
    """The stage of the network that says whom to ask.

    Args:
        train: the training data.
        config: settings, with the budget of fusion.
        total: planned steps; None where minutes alone decide.
        joint: joint histories that a step learns from.
        answers: what agents say.
        number: of the stage.
    """
    return Stage(
        name="next_agent",
        file=NEXT_AGENT_FILE,
        number=number,
        config=config,
        total=total,
        samples=AnsweredSteps(train, answers),
        build=eqx.Partial(_new_network, answers.prior, answers.num_agents),
        losses=next_agent_losses,
        drawn=joint,
        judge=eqx.Partial(_judge, answers),
    )


def _new_network(prior: Prior, num_agents: int, key: PRNGKeyArray) -> NextAgentNetwork:
    return NextAgentNetwork(prior, num_agents, key=key)


def _judge(answers: AnswerNetwork, network: NextAgentNetwork, held_out: Pairs) -> dict[str, float]:
    """The loss, and the squared error of half of the team and one more: whom the network names, and anybody."""
    assert isinstance(held_out, HistoryDataset), "joint histories are known where fusion is learned"
    found = _quality(network, cast(AnsweredSteps, arrays_of(AnsweredSteps(held_out, answers))))
    names = ("validation_loss", "error_with_named", "error_with_anybody")
    return {name: float(value) for name, value in zip(names, found, strict=True)}


@eqx.filter_jit
def _quality(network: NextAgentNetwork, held_out: AnsweredSteps) -> tuple[Float[Array, ""], ...]:
    key_data, key_teams, key_loss = jax.random.split(jax.random.key(0), 3)
    answered, states = held_out.sample(key_data, _JUDGED)
    prior, agents = network.prior, network.num_agents

    def of_step(each: Answer, there, state, key):
        def claims(team):
            return posterior(prior, add_up(each, team))

        place = jax.random.permutation(key, agents)
        team = there & (place < agents // 2)
        named = jnp.argmax(jnp.where(there & ~team, network.expected(*claims(team), team), -jnp.inf))
        teams = (team | (there & (jnp.arange(agents) == named)), there & (place < agents // 2 + 1))
        return [jnp.sum((claims(longer)[0] - state) ** 2) for longer in teams]

    errors = jax.vmap(of_step)(answered.each, answered.there, states, jax.random.split(key_teams, _JUDGED))
    return jnp.mean(next_agent_losses(network, answered, states, key_loss)), *map(jnp.mean, errors)
