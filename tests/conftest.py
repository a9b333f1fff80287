"""Everything under test runs with shapes checked, strict promotion and warnings as errors."""

import jax
import pytest
from jaxtyping import install_import_hook

with install_import_hook("composite_flow", "beartype.beartype"):
    import composite_flow  # noqa: F401

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key():
    """The key that a test splits; the same in every run."""
    return jax.random.key(0)
