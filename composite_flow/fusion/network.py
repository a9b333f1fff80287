"""The learned answers: one network shared by all agents, read beside what it says of an agent's usual history.

    x(τ): the last hidden layer,  x_0 = 0,  x_l = a(x_{l−1} W_l + c_l(τ)),  c_l as in the denoiser's network
    Δ_i = x(τ_i) − x(τ̄_i),       τ̄_i the mean training history of agent i, which is stored

    λ_i = P_0 exp(clip(4 x A_λ, ±12)),   ρ_i = P_0 exp(clip(4 x A_ρ, ±12)),   η_i = λ_i Δ_i M      for numbers
    l_i = Δ_i M                                                                                    for other features
    c_i = Δ_i C

Because of the centring, what carries no news adds nothing: otherwise n agents add up n times what they all say from the
start, which large teams do not unlearn. M and C start at 0, so that training starts at the prior's mean.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, Answers, Prior, team_sums
from composite_flow.network import Activation, activation_function, check_sizes, scaling_range, uniform_weights

LARGEST_EXPONENT = 12.0  # of weights and precisions, relative to the prior's: 160,000 times as sure as it, or as unsure


class AnswerNetwork(Answers):
    """The answers that training fits; one network serves all agents.

    Attributes:
        history_weights: V_1..V_depth side by side.
        hidden_weights: W_2..W_depth.
        biases: b_1..b_depth.
        evidence_weights: M.
        weight_weights, weight_bias: A_λ and its bias.
        precision_weights, precision_bias: A_ρ and its bias.
        free_weights: C.
        mean_histories: τ̄_i, of every agent; not trained.
        history_minimum, history_maximum: range of each history column, which is mapped to [0, 1]; not trained.
        prior: of the training states; not trained.
    """

    history_weights: Float[Array, "history depth_times_width"]
    hidden_weights: tuple[Float[Array, "width width"], ...]
    biases: Float[Array, "depth width"]
    evidence_weights: Float[Array, "width state"]
    weight_weights: Float[Array, "width state"]
    weight_bias: Float[Array, " state"]
    precision_weights: Float[Array, "width state"]
    precision_bias: Float[Array, " state"]
    free_weights: Float[Array, "width free"]
    mean_histories: Float[Array, "agents history"]
    history_minimum: Float[Array, " history"]
    history_maximum: Float[Array, " history"]
    prior: Prior
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        mean_histories: Float[Array, "agents history"],
        history_range: tuple[Float[Array, " history"], Float[Array, " history"]],
        prior: Prior,
        width: int = 256,
        depth: int = 6,
        num_free: int = 0,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the hidden weights from U[−1, 1] / √fan_in; all else starts at 0.

        Args:
            mean_histories: τ̄_i of every agent.
            history_range: smallest and largest value of each history column in training.
            prior: of the training states.
            width: units of a hidden layer.
            depth: number of hidden layers.
            num_free: free numbers in an answer.
            activation: of the hidden layers.
            key: random key.

        Raises:
            InputError: a size below one.
        """
        history_size, state_size = mean_histories.shape[1], len(prior.mean)
        check_sizes(history=history_size, state=state_size, width=width, depth=depth)
        key_history, *keys_hidden = jax.random.split(key, depth)
        self.history_weights = uniform_weights(key_history, (history_size, depth * width))
        self.hidden_weights = tuple(uniform_weights(k, (width, width)) for k in keys_hidden)
        self.biases = jnp.zeros((depth, width))
        self.evidence_weights = jnp.zeros((width, state_size))
        self.weight_weights, self.weight_bias = jnp.zeros((width, state_size)), jnp.zeros(state_size)
        self.precision_weights, self.precision_bias = jnp.zeros((width, state_size)), jnp.zeros(state_size)
        self.free_weights = uniform_weights(jax.random.fold_in(key, depth), (width, num_free))
        self.mean_histories = mean_histories
        self.history_minimum, self.history_maximum = scaling_range(*history_range)
        self.prior, self.activation = prior, activation

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.mean_histories)

    @property
    def history_size(self) -> int:
        """Columns of a history."""
        return self.mean_histories.shape[1]

    @property
    def state_size(self) -> int:
        """Features of the state."""
        return self.evidence_weights.shape[1]

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return self.biases.shape[1]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.biases)

    @property
    def num_free(self) -> int:
        """Free numbers in an answer."""
        return self.free_weights.shape[1]

    @property
    def values_sent(self) -> int:
        """Numbers in an answer: three for each number, one for each other feature, and the free ones."""
        return self.prior.types.values_sent + self.num_free

    def condition(self, history: Float[Array, " history"]) -> Float[Array, "two depth width"]:
        """The biases c_l of a history, and those of its agent's mean history."""
        agents = len(self.mean_histories)
        usual = history[-agents:] @ jax.lax.stop_gradient(self.mean_histories)  # its last columns: the agent one-hot
        return jnp.stack([self._biases(history), self._biases(usual)])

    def answer(self, context: Float[Array, "two depth width"]) -> Answer:
        """What is to be added up."""
        here, usual = jax.vmap(self._hidden)(context)
        return self._say(here, usual)

    def usual(self) -> Float[Array, "agents width"]:
        """x(τ̄_i) of every agent."""
        return jax.vmap(self._read)(jax.lax.stop_gradient(self.mean_histories))

    def answer_each(
        self, histories: Float[Array, "agents history"], usual: Float[Array, "agents width"] | None = None
    ) -> Answer:
        """The answers of the whole team, in its order; mean histories are read once for a batch of teams."""
        usual = self.usual() if usual is None else usual
        return jax.vmap(self._say)(jax.vmap(self._read)(histories), usual)

    def batch_sums(
        self, histories: Float[Array, "batch agents history"], teams: Bool[Array, "batch teams agents"]
    ) -> Answer:
        """The sums of several teams' answers at each of many steps.

        All histories are rows of one matrix: with two batch axes XLA copies what the gradients of weights are made of.
        """
        batch, agents = histories.shape[:2]
        here = jax.vmap(self._read)(histories.reshape(batch * agents, -1))
        rows = jax.vmap(self._say)(here, jnp.tile(self.usual(), (batch, 1)))
        answers = jax.tree.map(lambda part: part.reshape(batch, agents, part.shape[1]), rows)
        return jax.vmap(team_sums)(answers, teams & jax.vmap(self.there)(histories)[:, None])

    def there(self, histories: Float[Array, "agents history"]) -> Bool[Array, " agents"]:
        """Which agents are there: the last column before the agent one-hot is the present step's mask."""
        return histories[:, -self.num_agents - 1] != 0

    def _biases(self, history: Float[Array, " history"]) -> Float[Array, "depth width"]:
        low, high = jax.lax.stop_gradient((self.history_minimum, self.history_maximum))
        return (((history - low) / (high - low)) @ self.history_weights).reshape(self.biases.shape) + self.biases

    def _hidden(self, biases: Float[Array, "depth width"]) -> Float[Array, " width"]:
        activate = activation_function(self.activation)
        # in parts, whose gradients are laid side by side; those of slices would be padded and added up
        first, *others = (part[0] for part in jnp.split(biases, len(biases)))
        x = activate(first)
        for weights, bias in zip(self.hidden_weights, others, strict=True):
            x = activate(x @ weights + bias)
        return x

    def _read(self, history: Float[Array, " history"]) -> Float[Array, " width"]:
        return self._hidden(self._biases(history))

    def _say(self, here: Float[Array, " width"], usual: Float[Array, " width"]) -> Answer:
        """The answer of a last hidden layer, beside that of the agent's mean history."""
        prior, news = jax.lax.stop_gradient(self.prior), here - usual
        is_number = jnp.asarray(self.prior.types.is_number)

        def sureness(weights, bias):
            exponent = jnp.clip(4.0 * (here @ weights + bias), -LARGEST_EXPONENT, LARGEST_EXPONENT)
            return jnp.where(is_number, prior.precision * jnp.exp(exponent), 0.0)

        weight = sureness(self.weight_weights, self.weight_bias)
        precision = sureness(self.precision_weights, self.precision_bias)
        said = news @ self.evidence_weights
        return Answer(jnp.where(is_number, weight * said, said), weight, precision, news @ self.free_weights)
