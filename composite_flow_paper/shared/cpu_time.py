"""CPU seconds of a computation beside the machine's own speed, so that numbers of other machines compare."""

import time
from collections.abc import Callable
from typing import TypeVar

import jax

Found = TypeVar("Found")

_SIZE, _PRODUCTS, _ROUNDS = 1024, 8, 3


def cpu_timed(compute: Callable[[], Found]) -> tuple[Found, float]:
    """The result, and the CPU seconds of all threads of this process until it is there."""
    started = time.process_time()
    found = jax.block_until_ready(compute())
    return found, time.process_time() - started


def matrix_product_rate() -> dict[str, float]:
    """Float32 matrix products of 1,024 rows and columns, in 10⁹ operations, per CPU second and per second.

    The best of three rounds, as other work on the machine slows single ones down.
    """
    factor = jax.random.normal(jax.random.key(0), (_SIZE, _SIZE)) / _SIZE**0.5

    @jax.jit
    def products(factor):
        return jax.lax.fori_loop(0, _PRODUCTS, lambda _, y: y @ factor, factor)

    jax.block_until_ready(products(factor))
    operations = 2e-9 * _PRODUCTS * _SIZE**3
    rates = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        _, cpu = cpu_timed(lambda: products(factor))
        rates.append((operations / max(cpu, 1e-9), operations / (time.perf_counter() - started)))
    by_cpu, by_clock = (max(column) for column in zip(*rates, strict=True))
    return {"gigaflops_per_cpu_second": by_cpu, "gigaflops_per_second": by_clock}
