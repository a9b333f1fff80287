"""Everything under test runs with shapes checked, strict promotion and warnings as errors."""

import gc
import os
import signal

from xla_flags import QUICK_COMPILATION, known_flags

if "XLA_FLAGS" not in os.environ:  # workers have it from the process that starts them
    os.environ["XLA_FLAGS"] = " ".join(known_flags(QUICK_COMPILATION))

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

with install_import_hook(("composite_flow", "composite_flow_paper"), "beartype.beartype"):
    import composite_flow.policy  # noqa: F401 (which `composite_flow` alone does not load)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background, from which programs under test have it
    signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that no worker is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
    """Give back compiled programs before the kernel refuses more of them, which ends the process in the middle of JAX.

    Each keeps some memory mappings, of which Linux allows a process 65,530.
    """
    yield
    give_back_programs()


@pytest.fixture(autouse=True)
def few_mappings_of_slow_tests(request):
    """The same after each slow test: a file of them can compile more than that."""
    yield
    if request.node.get_closest_marker("slow"):
        give_back_programs()


def give_back_programs():
    """Forget compiled programs, where they keep many mappings."""
    if number_of_mappings() > 40_000:
        jax.clear_caches()
        gc.collect()


def number_of_mappings():
    """Memory mappings of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return 0


@pytest.fixture
def key():
    """The key that a test splits; the same in every run."""
    return jax.random.key(0)


@pytest.fixture
def permissive():
    """Optimisers and plots of other libraries promote; the modules themselves are checked in their own tests."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
