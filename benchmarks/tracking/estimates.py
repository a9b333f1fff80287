"""What a filter says of each target at each step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Estimates(NamedTuple):
    """Means and claimed covariances of x, its speed, y, its speed."""

    mean: Float[np.ndarray, "episodes steps targets 4"]
    covariance: Float[np.ndarray, "episodes steps targets 4 4"]
