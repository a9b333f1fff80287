"""Histories are checked against the denoiser that is to read them, once for each denoiser and width."""

import gc

import equinox as eqx
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

from composite_flow import validation
from composite_flow.errors import InputError
from composite_flow.validation import check_histories

TRACED = []


class Reader(eqx.Module):
    """A denoiser of histories with as many columns as its weights have rows; notes each trace."""

    weights: Float[Array, "history state"]
    state_size: int = 2

    def condition(self, history: Float[Array, " history"]) -> Float[Array, " state"]:
        """A linear guess."""
        TRACED.append(len(history))
        return history @ self.weights

    def denoise(self, context: Float[Array, " state"], y: Float[Array, " state"]) -> Float[Array, " state"]:
        """The guess."""
        return context


def test_each_denoiser_is_traced_once_for_what_it_reads_and_always_for_what_it_cannot():
    TRACED.clear()
    first, second = Reader(jnp.ones((3, 2))), Reader(jnp.ones((4, 2)))
    for _ in range(3):
        check_histories(first, jnp.zeros((5, 3)), axes=2)
    assert TRACED == [3]
    for _ in range(2):
        with pytest.raises(InputError, match="cannot read histories with 4 columns"):
            check_histories(first, jnp.zeros((5, 4)), axes=2)
    check_histories(second, jnp.zeros((5, 4)), axes=2)
    with pytest.raises(InputError, match="cannot read histories with 3 columns"):
        check_histories(second, jnp.zeros((1, 5, 3)), axes=3)
    check_histories(first, jnp.zeros((2, 5, 3)), axes=3)
    assert TRACED == [3, 4, 4, 4, 3]


def test_a_denoiser_that_is_gone_is_forgotten():
    denoiser = Reader(jnp.ones((3, 2)))
    kept = id(denoiser)
    check_histories(denoiser, jnp.zeros((5, 3)), axes=2)
    assert kept in validation._WIDTHS_READ
    del denoiser
    gc.collect()
    assert kept not in validation._WIDTHS_READ


def test_inside_a_callers_jit_nothing_is_kept():
    gc.collect()  # others may be gone by now
    before = len(validation._WIDTHS_READ)
    run = eqx.filter_jit(lambda denoiser, histories: check_histories(denoiser, histories, axes=2))
    run(Reader(jnp.ones((3, 2))), jnp.zeros((5, 3)))
    gc.collect()
    assert len(validation._WIDTHS_READ) == before
