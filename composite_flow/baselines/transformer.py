"""A transformer over agents: each agent's history is a token, and self-attention puts them together.

    x_i = h(τ_i) E
    x ← x + attention(norm x) O_l,    x ← x + relu(norm(x) A_l + a_l) B_l + b_l,    l = 1..layers
    g(τ_A) = mean_{i ∈ A} norm(x_i) W + b

attention is that of several heads among the agents that take part; norm takes mean and scale of the units away. The
rows of E at a history's identity columns are the embeddings of the agents, so that the order of the tokens says
nothing. Like joint regression it needs all histories in one place; unlike it, it has one set of weights for all agents
and takes teams of any size. Trained by `whole_team_losses` it has seen whole teams alone; `any_team_losses` drops
agents at random, so that the estimate of a part of the team means something too.

The norm comes before each part, as in most transformers of today (Vaswani et al. 2017, Xiong et al. 2020).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.network import check_sizes, scaling_range, uniform_weights

NUM_HEADS = 4


class AgentTransformer(eqx.Module):
    """The transformer; it starts at the prior's mean.

    Attributes:
        embedding: E.
        attention: queries, keys, values and O of each layer.
        inner, inner_bias: A and a.
        outer, outer_bias: B and b.
        read_out, read_out_bias: W and b.
        history_minimum, history_maximum: range of each history column, which is mapped to [0, 1]; not trained.
    """

    embedding: Float[Array, "history width"]
    attention: Float[Array, "layers four width width"]
    inner: Float[Array, "layers width inner"]
    inner_bias: Float[Array, "layers inner"]
    outer: Float[Array, "layers inner width"]
    outer_bias: Float[Array, "layers width"]
    read_out: Float[Array, "width state"]
    read_out_bias: Float[Array, " state"]
    history_minimum: Float[Array, " history"]
    history_maximum: Float[Array, " history"]

    def __init__(
        self,
        history_range: tuple[Float[Array, " history"], Float[Array, " history"]],
        prior_mean: Float[Array, " state"],
        head_width: int,
        layers: int = 3,
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights from U[−1, 1] / √fan_in; W and the biases but b = s̄ start at 0.

        Args:
            history_range: smallest and largest value of each history column in training.
            prior_mean: s̄, of the training states.
            head_width: units of each of the four heads; a token has as many as all of them.
            layers: number of layers.
            key: random key.

        Raises:
            InputError: a size below one.
        """
        history_size, state_size, width = len(history_range[0]), len(prior_mean), NUM_HEADS * head_width
        check_sizes(history=history_size, state=state_size, head_width=head_width, layers=layers)
        key_embedding, key_attention, key_inner, key_outer = jax.random.split(key, 4)
        self.embedding = uniform_weights(key_embedding, (history_size, width))
        self.attention = uniform_weights(key_attention, (layers, 4, width, width))
        self.inner = uniform_weights(key_inner, (layers, width, 2 * width))
        self.outer = uniform_weights(key_outer, (layers, 2 * width, width))
        self.inner_bias, self.outer_bias = jnp.zeros((layers, 2 * width)), jnp.zeros((layers, width))
        self.read_out, self.read_out_bias = jnp.zeros((width, state_size)), jnp.array(prior_mean)
        self.history_minimum, self.history_maximum = scaling_range(*history_range)

    def __call__(
        self, histories: Float[Array, "agents history"], participants: Bool[Array, " agents"]
    ) -> Float[Array, " state"]:
        """g(τ_A): the estimate of those who take part, one at least."""
        low, high = jax.lax.stop_gradient((self.history_minimum, self.history_maximum))

        def layer(x, weights):
            attention, inner, inner_bias, outer, outer_bias = weights
            x = x + _attended(_normalised(x), attention, participants)
            hidden = jax.nn.relu(_normalised(x) @ inner + inner_bias[None])
            return x + hidden @ outer + outer_bias[None], None

        x = (histories - low[None]) / (high - low)[None] @ self.embedding
        layers = (self.attention, self.inner, self.inner_bias, self.outer, self.outer_bias)
        x, _ = jax.lax.scan(layer, x, layers, unroll=True)  # a loop of few steps costs more than it saves
        pooled = jnp.mean(_normalised(x), axis=0, where=participants[:, None])
        return pooled @ self.read_out + self.read_out_bias


def _attended(
    x: Float[Array, "agents width"], weights: Float[Array, "four width width"], participants: Bool[Array, " agents"]
) -> Float[Array, "agents width"]:
    """What each token takes from those of the participants, over all heads."""
    queries, keys, values = ((x @ weights[part]).reshape(len(x), NUM_HEADS, -1) for part in range(3))
    scores = jnp.einsum("ihu,jhu->hij", queries, keys) / queries.shape[-1] ** 0.5
    shares = jax.nn.softmax(scores, axis=-1, where=participants[None, None])
    taken = jnp.einsum("hij,jhu->ihu", shares, values)
    return taken.reshape(x.shape) @ weights[3]


def _normalised(x: Float[Array, "agents width"]) -> Float[Array, "agents width"]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)


def whole_team_losses(
    network: AgentTransformer,
    histories: Float[Array, "batch agents history"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """‖s − g(τ_1, …, τ_n)‖² of each step; nothing is drawn."""
    return _squared_errors(network, histories, states, jnp.ones(histories.shape[:2], bool))


def any_team_losses(
    network: AgentTransformer,
    histories: Float[Array, "batch agents history"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """‖s − g(τ_A)‖² of each step, for a random team A of a random size, uniform from one to all."""
    batch, num_agents, _ = histories.shape
    key_order, key_size = jax.random.split(key)
    places = jax.vmap(lambda one: jax.random.permutation(one, num_agents))(jax.random.split(key_order, batch))
    return _squared_errors(
        network, histories, states, places < jax.random.randint(key_size, (batch, 1), 1, num_agents + 1)
    )


def _squared_errors(network: AgentTransformer, histories, states, teams) -> Float[Array, " batch"]:
    return jnp.sum((jax.vmap(network)(histories, teams) - states) ** 2, axis=-1)
