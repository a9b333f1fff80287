"""A stronger denoiser: residual blocks with layer normalisation, whose scale and shift depend on the history.

    (γ_l, β_l)_l = relu(h(τ) V + c) U + d
    x_0 = y W_0 + b_0,    x_l = x_{l−1} + relu(((1 + γ_l) ∘ norm(x_{l−1}) + β_l) A_l + a_l) B_l
    f(τ, y) = norm(x_L) W + b

with norm(x) = (x − mean x) / √(var x + 1e-5) over the units, and h(τ) the history scaled by its range in the training
data. Each block has two square layers. So with as many blocks as the plain network has hidden layers, the path of y
is twice as deep. B_l and U start at 0: at first every block returns its input, whatever the history is.

It stands for the "more powerful network architectures" of Evidence 5.1, for which the paper also claims the gap of
Theorem 8.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.network import scaling_range, uniform_weights

_ScalesAndShifts = Float[Array, "blocks two width"]


class ResidualNetwork(eqx.Module):
    """The stronger denoiser; it keeps the contract of `Denoiser`.

    Attributes:
        encoder: V and U.
        encoder_biases: c and d.
        first, last: W_0 and W.
        first_bias, last_bias: b_0 and b.
        inner, outer: A_l and B_l.
        inner_biases: a_l.
        history_minimum, history_maximum: range of each history column; not trained.

    Source: Evidence 5.1.
    """

    encoder: tuple[Float[Array, "history width"], Float[Array, "width conditions"]]
    encoder_biases: tuple[Float[Array, " width"], Float[Array, " conditions"]]
    first: Float[Array, "state width"]
    first_bias: Float[Array, " width"]
    inner: Float[Array, "blocks width width"]
    inner_biases: Float[Array, "blocks width"]
    outer: Float[Array, "blocks width width"]
    last: Float[Array, "width state"]
    last_bias: Float[Array, " state"]
    history_minimum: Float[Array, " history"]
    history_maximum: Float[Array, " history"]

    def __init__(
        self,
        minimum: Float[Array, " history"],
        maximum: Float[Array, " history"],
        state_size: int,
        width: int,
        blocks: int,
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights from U[−1, 1] / √fan_in; B_l, U and all biases are 0.

        Args:
            minimum, maximum: range of each history column in the training data.
            state_size: number of features of the state.
            width: units of each layer.
            blocks: number of blocks.
            key: random key.
        """
        key_encoder, key_first, key_inner, key_last = jax.random.split(key, 4)
        history_size = minimum.shape[0]
        self.encoder = (uniform_weights(key_encoder, (history_size, width)), jnp.zeros((width, blocks * 2 * width)))
        self.encoder_biases = (jnp.zeros(width), jnp.zeros(blocks * 2 * width))
        self.first, self.first_bias = uniform_weights(key_first, (state_size, width)), jnp.zeros(width)
        self.inner = uniform_weights(key_inner, (blocks, width, width))
        self.inner_biases, self.outer = jnp.zeros((blocks, width)), jnp.zeros((blocks, width, width))
        self.last, self.last_bias = uniform_weights(key_last, (width, state_size)), jnp.zeros(state_size)
        self.history_minimum, self.history_maximum = scaling_range(minimum, maximum)

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.last.shape[1]

    def condition(self, history: Float[Array, " history"]) -> _ScalesAndShifts:
        """The scale and shift of every block, (γ_l, β_l)."""
        minimum, maximum = map(jax.lax.stop_gradient, (self.history_minimum, self.history_maximum))
        hidden = (history - minimum) / (maximum - minimum) @ self.encoder[0] + self.encoder_biases[0]
        conditions = jax.nn.relu(hidden) @ self.encoder[1] + self.encoder_biases[1]
        return conditions.reshape(self.inner.shape[0], 2, self.first.shape[1])

    def denoise(self, context: _ScalesAndShifts, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """f(τ, y), the posterior mean itself, never the residual (Eq. 2)."""

        def block(x, layers):
            (scale, shift), inner, bias, outer = layers
            conditioned = (1.0 + scale) * _normalised(x) + shift
            return x + jax.nn.relu(conditioned @ inner + bias) @ outer, None

        x = y @ self.first + self.first_bias
        x, _ = jax.lax.scan(block, x, (context, self.inner, self.inner_biases, self.outer))
        return _normalised(x) @ self.last + self.last_bias


def _normalised(x: Float[Array, " width"]) -> Float[Array, " width"]:
    return (x - jnp.mean(x)) * jax.lax.rsqrt(jnp.var(x) + 1e-5)
