"""The network of the team denoiser: what features say by themselves, corrected by what they say together.

    x⁰ = what each feature says by itself, in log-odds, log-probabilities, or as a number

    u_k = (p_k, tanh(x_k/4), r_k),     p = the means that x stands for, r_k read beside them, the same in every round
    h   = a((u, log Σ exp(x), log Σ p, v) A + m V + b)                  of all features, and of the message m
    e_k = a((u_k, E_k) B + h C)                                         of each feature, by the same weights
    x   ← x + e · o + h O + d

Each round has weights of its own; E_k is learned for each feature. The posterior of features that depend on each other
is a fixed point of such corrections (mean fields, and sums over states where they are exchangeable): "two of forty are
1" is one number, by which all of them are shifted, and how far depends on each by itself. A network that adds h O alone
has to learn that anew for every feature.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.network import Activation, activation_function, check_sizes, uniform_weights

_READ = 3  # numbers that are read of each feature: p, tanh(x/4), r
_LEAST_SUM = 1e-3  # of means; numbers may add up to nothing
_EMBEDDING, _FEATURE_UNITS = 8, 32  # of each feature


class RefiningNetwork(eqx.Module):
    """The network; untrained it returns x⁰.

    Attributes:
        shared_weights: A of each round.
        message_weights: V of all rounds side by side.
        biases: b of each round.
        shared_output: O of each round.
        embeddings: E.
        feature_weights: B of each round.
        feature_biases: C of each round.
        feature_output: o of each round.
        output_biases: d of each round.
    """

    shared_weights: tuple[Float[Array, "inputs width"], ...]
    message_weights: Float[Array, "message rounds_times_width"]
    biases: Float[Array, "rounds width"]
    shared_output: tuple[Float[Array, "width state"], ...]
    embeddings: Float[Array, "state embedding"]
    feature_weights: tuple[Float[Array, "read units"], ...]
    feature_biases: tuple[Float[Array, "width units"], ...]
    feature_output: Float[Array, "rounds units"]
    output_biases: Float[Array, "rounds state"]
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        message_size: int,
        state_size: int,
        num_beside: int,
        width: int,
        rounds: int,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the hidden weights from U[−1, 1] / √fan_in; what is added to x starts at 0.

        Args:
            message_size: numbers in m.
            state_size: features.
            num_beside: numbers in v.
            width: units of h.
            rounds: corrections.
            activation: of h and e.
            key: random key.

        Raises:
            InputError: a size below one.
        """
        check_sizes(message=message_size, state=state_size, beside=num_beside, width=width, rounds=rounds)
        keys = jax.random.split(key, 5)
        inputs = _READ * state_size + 2 + num_beside
        self.shared_weights = _drawn(keys[0], rounds, (inputs, width))
        self.message_weights = uniform_weights(keys[1], (message_size, rounds * width))
        self.biases = jnp.zeros((rounds, width))
        self.shared_output = (jnp.zeros((width, state_size)),) * rounds
        self.embeddings = 0.3 * jax.random.normal(keys[2], (state_size, _EMBEDDING))
        self.feature_weights = _drawn(keys[3], rounds, (_READ + _EMBEDDING, _FEATURE_UNITS))
        self.feature_biases = _drawn(keys[4], rounds, (width, _FEATURE_UNITS))
        self.feature_output = jnp.zeros((rounds, _FEATURE_UNITS))
        self.output_biases = jnp.zeros((rounds, state_size))
        self.activation = activation

    @property
    def width(self) -> int:
        """Units of h."""
        return self.biases.shape[1]

    @property
    def rounds(self) -> int:
        """Corrections."""
        return len(self.biases)

    def condition(self, message: Float[Array, " message"]) -> Float[Array, "rounds width"]:
        """m V + b of all rounds."""
        return (message @ self.message_weights).reshape(self.biases.shape) + self.biases

    def __call__(
        self,
        biases: Float[Array, "rounds width"],
        alone: Float[Array, " state"],
        read: Float[Array, " state"],
        beside: Float[Array, " beside"],
        means: Callable[[Float[Array, " state"]], Float[Array, " state"]],
    ) -> Float[Array, " state"]:
        """x after all rounds.

        Args:
            biases: `condition(message)`.
            alone: x⁰.
            read: r.
            beside: v.
            means: p for x.
        """
        x = alone
        for number, bias in enumerate(biases):
            p = means(x)
            sums = jnp.stack([0.25 * jax.nn.logsumexp(x), jnp.log(jnp.abs(jnp.sum(p)) + _LEAST_SUM)])
            x = x + self._correction(number, bias, jnp.stack([p, jnp.tanh(0.25 * x), read]), sums, beside)
        return x

    def _correction(self, number: int, bias, features, sums, beside) -> Float[Array, " state"]:
        """What one round adds."""
        activate = activation_function(self.activation)
        h = activate(jnp.concatenate([features.ravel(), sums, beside]) @ self.shared_weights[number] + bias)
        each = jnp.concatenate([features.T, self.embeddings], axis=1) @ self.feature_weights[number]
        each = activate(each + (h @ self.feature_biases[number])[None])
        return each @ self.feature_output[number] + h @ self.shared_output[number] + self.output_biases[number]


def _drawn(key: PRNGKeyArray, rounds: int, shape: tuple[int, int]) -> tuple[Float[Array, "inputs outputs"], ...]:
    return tuple(uniform_weights(each, shape) for each in jax.random.split(key, rounds))
