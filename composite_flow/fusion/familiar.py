"""What histories look like in training, so that one that does not is noticed: by range, and by density.

    outside    how far a column lies beyond its range in training, in widths of that range; the largest over columns
    far        ‖z‖² / m,  z the m principal components divided by their standard deviations      (Hotelling's T²)
    off        ‖x − x̄ − the part that the components hold‖² / its mean in training               (Q, or SPE)

of a history x without the identity of its agent, each column mapped to [0, 1]. T² and Q are those of process monitoring
(Jackson and Mudholkar, "Control procedures for residuals associated with principal component analysis", 1979). What is
usual of them is measured (`trust/usual.py`); nothing is assumed to be Gaussian.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_EXPLAINED, _MOST_COMPONENTS = 0.99, 128  # of the variance; components at most
_MOST_ROWS = 4096  # of which components are computed
_NARROWEST = 1e-3  # widths count as so much of the widest column's at least: constants do not make all else infinite

CHECKS = ("outside", "far", "off")


class Familiar(eqx.Module):
    """The histories of training, summed up.

    Attributes:
        low, width: smallest value of each column, and its range.
        mean: of each column, mapped to [0, 1].
        components: principal directions.
        deviations: standard deviation along each of them.
        left: mean square of what they do not hold.
    """

    low: Float[Array, " own"]
    width: Float[Array, " own"]
    mean: Float[Array, " own"]
    components: Float[Array, "own components"]
    deviations: Float[Array, " components"]
    left: Float[Array, ""]

    def unlikeness(self, own: Float[Array, " own"]) -> Float[Array, " three"]:
        """`outside`, `far` and `off` of a history without its identity."""
        x = (own - self.low) / self.width
        outside = jnp.max(jnp.maximum(-x, x - 1.0))
        centred = x - self.mean
        held = centred @ self.components
        far = jnp.mean((held / self.deviations) ** 2)
        # the rest itself, not ‖centred‖² − ‖held‖², whose rounding can be as large as what is left
        off = jnp.sum((centred - self.components @ held) ** 2)
        return jnp.stack([jnp.maximum(outside, 0.0), far, off / self.left])

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        own, components = self.components.shape
        return {"own": own, "components": components}

    @classmethod
    def empty(cls, own: int, components: int) -> "Familiar":
        """The same structure without its numbers."""
        columns = jnp.zeros(own)
        return cls(columns, columns, columns, jnp.zeros((own, components)), jnp.zeros(components), jnp.zeros(()))


def familiar_with(own: Float[np.ndarray, "histories own"]) -> Familiar:
    """Sum up training histories without their identities; components are computed in float64 from 4,096 of them."""
    low, high = own.min(axis=0), own.max(axis=0)
    width = np.maximum(high - low, _NARROWEST * max(float(np.max(high - low)), 1e-30))
    chosen = own[:: -(-len(own) // _MOST_ROWS)]
    x = (chosen.astype(np.float64) - low) / width
    mean = x.mean(axis=0)
    _, singular, directions = np.linalg.svd(x - mean, full_matrices=False)
    variances = singular**2 / max(1, len(x) - 1)
    kept = _components_of(variances)
    left = max(float(variances[kept:].sum()), 1e-6 * max(1.0, float(variances.sum())))
    arrays = low, width, mean, directions[:kept].T, np.sqrt(np.maximum(variances[:kept], 1e-12)), np.asarray(left)
    return Familiar(*(jnp.asarray(array, jnp.float32) for array in arrays))


def _components_of(variances: Float[np.ndarray, " directions"]) -> int:
    """As many as hold 99% of the variance, at most 128 and at least one."""
    total = float(variances.sum())
    reached = np.cumsum(variances) >= _EXPLAINED * total if total > 0 else np.ones(len(variances), bool)
    return min(int(np.argmax(reached)) + 1, _MOST_COMPONENTS)
