"""Learned answers for large states: each agent speaks of few features, and says one number of all others.

    x(τ): the last hidden layer,  x_0 = 0,  x_l = a(x_{l−1} W_l + c_l),  c_l = own(τ) V_l + e_{i,l}
    Δ_i = x(τ_i) − x(τ̄_i),        τ̄_i the mean training history of agent i, which is stored

    λ = P_0 exp(clip(4 x A_λ, ±12)),   ρ = P_0 exp(clip(4 x A_ρ, ±12)),   η = λ Δ_i M    for numbers in agent i's slots
    l = Δ_i M                                                                           for other features there
    Δ_i o  (times P_0 for numbers) is added to the evidence of every feature

The features of an agent's slots come from `screening`. One trunk serves all agents, and a slot's weights are the same
for all of them: agents differ in an embedding e_i, which stands in the place of the identity's columns, and in what
their slots mean. own(τ) are the columns but those of the identity; the last of them, the mask of the present step, is
1, so that V_l holds a bias. The size of the network does not grow with the state, and that of an answer neither.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Answer, Answers, Prior
from composite_flow.fusion.network import LARGEST_EXPONENT
from composite_flow.fusion.screening import FEATURES_PER_ENTRY, sparse_parts
from composite_flow.fusion.slot_answer import SlotAnswer
from composite_flow.network import Activation, activation_function, check_sizes, scaling_range, uniform_weights


class SparseAnswers(Answers):
    """Answers of few features; it keeps the contract of `Answers`.

    Attributes:
        embeddings: e_i, of all layers side by side.
        history_weights: V_1..V_depth side by side.
        hidden_weights: W_2..W_depth.
        evidence_weights: M.
        weight_weights, weight_bias: A_λ and its bias.
        precision_weights, precision_bias: A_ρ and its bias.
        everywhere_weights: o.
        slots: the feature of each slot of each agent; the number of features where a slot is empty. Not trained. They
            are floats, exact up to 16 million, since training takes modules of such arrays.
        mean_histories: τ̄_i without the identity; not trained.
        history_minimum, history_maximum: range of each own column, which is mapped to [0, 1]; not trained.
        prior: of the training states; not trained.
    """

    embeddings: Float[Array, "agents depth_times_width"]
    history_weights: Float[Array, "own depth_times_width"]
    hidden_weights: tuple[Float[Array, "width width"], ...]
    evidence_weights: Float[Array, "width slots"]
    weight_weights: Float[Array, "width slots"]
    weight_bias: Float[Array, " slots"]
    precision_weights: Float[Array, "width slots"]
    precision_bias: Float[Array, " slots"]
    everywhere_weights: Float[Array, " width"]
    slots: Float[Array, "agents slots"]
    mean_histories: Float[Array, "agents own"]
    history_minimum: Float[Array, " own"]
    history_maximum: Float[Array, " own"]
    prior: Prior
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        slots: Int[np.ndarray, "agents slots"] | Int[Array, "agents slots"],
        mean_histories: Float[Array, "agents own"],
        history_range: tuple[Float[Array, " own"], Float[Array, " own"]],
        prior: Prior,
        width: int = 64,
        depth: int = 2,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the hidden weights and embeddings from U[−1, 1] / √fan_in; all else starts at 0.

        Args:
            slots: the features that each agent speaks of, by `screen`.
            mean_histories: τ̄_i of every agent, without the columns of its identity.
            history_range: smallest and largest value of each own column in training.
            prior: of the training states.
            width: units of a hidden layer.
            depth: number of hidden layers.
            activation, key: of the hidden layers; random key.

        Raises:
            InputError: a size below one.
        """
        (agents, own), num_slots = mean_histories.shape, slots.shape[1]
        check_sizes(history=own, state=len(prior.mean), width=width, depth=depth)
        key_history, key_agent, *keys_hidden = jax.random.split(key, depth + 1)
        self.history_weights = uniform_weights(key_history, (own, depth * width))
        self.embeddings = jax.random.uniform(key_agent, (agents, depth * width), minval=-1.0, maxval=1.0) / own**0.5
        self.hidden_weights = tuple(uniform_weights(k, (width, width)) for k in keys_hidden)
        self.evidence_weights, self.everywhere_weights = jnp.zeros((width, num_slots)), jnp.zeros(width)
        self.weight_weights, self.weight_bias = jnp.zeros((width, num_slots)), jnp.zeros(num_slots)
        self.precision_weights, self.precision_bias = jnp.zeros((width, num_slots)), jnp.zeros(num_slots)
        self.slots, self.mean_histories = jnp.asarray(slots, jnp.float32), mean_histories
        self.history_minimum, self.history_maximum = scaling_range(*history_range)
        self.prior, self.activation = prior, activation

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.mean_histories)

    @property
    def own_size(self) -> int:
        """Columns of a history but those of the identity."""
        return self.mean_histories.shape[1]

    @property
    def num_slots(self) -> int:
        """Features that an agent speaks of."""
        return self.slots.shape[1]

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return len(self.everywhere_weights)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.hidden_weights) + 1

    @property
    def values_sent(self) -> int:
        """Numbers in an answer: one a slot, three where there are numbers, and one for all features."""
        return self.num_slots * (3 if self.prior.types.is_number.any() else 1) + 1

    @property
    def slot_features(self) -> Int[Array, "agents slots"]:
        """The feature of each slot of each agent."""
        return jax.lax.stop_gradient(self.slots).astype(jnp.int32)

    # --- one agent

    def condition(self, history: Float[Array, " history"]) -> tuple[Array, Array, Array]:
        """The agent's number, and the last hidden layer of its history and of its mean history."""
        own = self.mean_histories.shape[1]
        agent = jnp.argmax(history[own:])  # its last columns: the agent one-hot
        usual = jax.lax.stop_gradient(self.mean_histories[agent])
        here, usual = (self._hidden(columns, self.embeddings[agent]) for columns in (history[:own], usual))
        return agent, here, usual

    def answer(self, context: tuple[Array, Array, Array]) -> Answer:
        """What is to be added up, of every feature."""
        return self.heard(context[0], self.sent(context))

    def sent(self, context: tuple[Array, Array, Array]) -> SlotAnswer:
        """What is sent of it."""
        agent, here, usual = context
        return self._say(here, self._evidence(usual), jnp.ones(1), self.slot_features[agent])

    def heard(self, agent: Int[Array, ""], sent: SlotAnswer) -> Answer:
        """The answer of every feature that belongs to what this agent sent."""
        return self._spread(self.slot_features[agent], sent)

    # --- the whole team

    def usual(self) -> Float[Array, "agents width"]:
        """The last hidden layer of every agent's mean history."""
        return jax.vmap(self._hidden)(jax.lax.stop_gradient(self.mean_histories), self.embeddings)

    def say_each(
        self, histories: Float[Array, "agents columns"], usual: Float[Array, "agents width"] | None = None
    ) -> SlotAnswer:
        """What every agent sends; only its own columns are read, so that the identity's may be left out."""
        own = self.mean_histories.shape[1]
        usual = self.usual() if usual is None else usual
        here, present = jax.vmap(self._hidden)(histories[:, :own], self.embeddings), histories[:, own - 1 : own]
        return jax.vmap(self._say)(here, jax.vmap(self._evidence)(usual), present, self.slot_features)

    def answer_each(
        self, histories: Float[Array, "agents columns"], usual: Float[Array, "agents width"] | None = None
    ) -> Answer:
        """The answers of the whole team of every feature, in its order."""
        return self.spread_each(self.say_each(histories, usual))

    def spread_each(self, said: SlotAnswer) -> Answer:
        """The answers of every feature that belong to what each agent sends."""
        return jax.vmap(self._spread)(self.slot_features, said)

    def team_sums(
        self,
        histories: Float[Array, "agents columns"],
        teams: Bool[Array, "teams agents"],
        usual: Float[Array, "agents width"] | None = None,
    ) -> Answer:
        """The sum of each team's answers, teams along the leading axis; what each agent says is spread only once."""
        there = histories[:, self.own_size - 1] != 0  # the mask of the present step
        said, member = self.say_each(histories, usual), (teams & there[None]).astype(jnp.float32)

        def shares(part: Float[Array, "agents slots"]) -> Float[Array, "teams entries"]:
            return (member[:, :, None] * part[None]).reshape(len(teams), -1)

        counted = SlotAnswer(
            shares(said.evidence), shares(said.weight), shares(said.precision), member @ said.everywhere
        )
        return jax.vmap(lambda each: self._spread(self.slot_features.reshape(-1), each))(counted)

    # --- parts of the above

    def _hidden(
        self, own: Float[Array, " own"], embedding: Float[Array, " depth_times_width"]
    ) -> Float[Array, " width"]:
        low, high = jax.lax.stop_gradient((self.history_minimum, self.history_maximum))
        scaled, activate = (own - low) / (high - low), activation_function(self.activation)
        conditions = scaled @ self.history_weights + _times(scaled[-1:], embedding)
        first, *others = jnp.split(conditions, len(self.hidden_weights) + 1)
        x = activate(first)
        for weights, condition in zip(self.hidden_weights, others, strict=True):
            x = activate(x @ weights + condition)
        return x

    def _evidence(self, hidden: Float[Array, " width"]) -> Float[Array, " slots_and_one"]:
        """x M, and x o behind it."""
        return hidden @ jnp.append(self.evidence_weights, self.everywhere_weights[:, None], axis=1)

    def _say(
        self,
        here: Float[Array, " width"],
        usual: Float[Array, " slots_and_one"],
        present: Float[Array, " 1"],
        slots: Int[Array, " slots"],
    ) -> SlotAnswer:
        """What a last hidden layer sends, beside what that of the agent's mean history would; `present` is 1."""
        types = self.prior.types
        news = self._evidence(here) - _times(present, usual)
        said, everywhere = news[:-1], news[-1]
        if not types.is_number.any():
            nothing = jnp.zeros_like(said)
            return SlotAnswer(said, nothing, nothing, everywhere)
        precision = jax.lax.stop_gradient(self.prior.precision)[slots]  # of the last feature where a slot is empty
        is_number = jnp.asarray(types.is_number)[slots]

        def sureness(weights, bias):
            exponent = jnp.clip(4.0 * (here @ weights + bias), -LARGEST_EXPONENT, LARGEST_EXPONENT)
            return jnp.where(is_number, precision * jnp.exp(exponent), 0.0)

        weight = sureness(self.weight_weights, self.weight_bias)
        claim = sureness(self.precision_weights, self.precision_bias)
        return SlotAnswer(jnp.where(is_number, weight * said, said), weight, claim, everywhere)

    def _spread(self, slots: Int[Array, " entries"], said: SlotAnswer) -> Answer:
        """The answer of every feature; entries of one feature add up, and empty slots are dropped."""
        state_size = len(self.prior.mean)

        def spread(part: Float[Array, " entries"]) -> Float[Array, " state"]:
            return jnp.zeros(state_size).at[slots].add(part, mode="drop")

        unit = jnp.where(self.prior.types.is_number, jax.lax.stop_gradient(self.prior.precision), 1.0)
        evidence = spread(said.evidence) + said.everywhere * unit
        if not self.prior.types.is_number.any():
            nothing = jnp.zeros(state_size)
            return Answer(evidence, nothing, nothing, jnp.zeros(0))
        return Answer(evidence, spread(said.weight), spread(said.precision), jnp.zeros(0))


def _times(present: Float[Array, " 1"], values: Float[Array, " values"]) -> Float[Array, " values"]:
    """The values of an agent, times the mask of its present step, which is 1.

    As a product with a column of the batch: the gradient is then a matrix product over the batch, where that of values
    which are only added is a sum over its leading axis, for which XLA took fifty times as long on a CPU.
    """
    return present @ values[None]


def build_sparse_answers(
    train: HistoryDataset,
    width: int = 64,
    depth: int = 2,
    activation: Activation = "relu",
    features_per_entry: int = FEATURES_PER_ENTRY,
    *,
    key: PRNGKeyArray,
) -> SparseAnswers:
    """Untrained sparse answers: screened, with the prior, the mean histories and the ranges of the training steps.

    Train them on `OwnSteps(train)`.

    Args:
        train: the training steps, in memory.
        width, depth, activation: of the network; InputError where a size is below one.
        features_per_entry: q, the features that each entry of an observation may speak of.
        key: draws the steps that are read, and the initial weights.
    """
    key_parts, key_weights = jax.random.split(key)
    parts = sparse_parts(train, features_per_entry, key=key_parts)
    return SparseAnswers(*parts, width, depth, activation, key=key_weights)
