"""Flags that the installed XLA does not know are left out; XLA itself is asked whether it takes the others."""

import os
import subprocess
import sys

from xla_flags import QUICK_COMPILATION, known_flags


def test_unknown_flags_and_values_are_left_out():
    kept = "--xla_backend_optimization_level=0"
    unknown = ["--xla_no_such_flag=true", "--xla_backend_optimization=0", "--xla_cpu_opt_preset=NO_SUCH_PRESET"]
    assert known_flags([unknown[0], kept, *unknown[1:]]) == [kept]


def test_xla_starts_with_the_flags_of_the_tests_and_ends_at_an_unknown_one():
    flags = known_flags(QUICK_COMPILATION)
    assert len(flags) >= 3
    assert _starts(flags)
    assert not _starts([*flags, "--xla_no_such_flag=true"])


def _starts(flags):
    environment = os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.numpy.zeros(1)"]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120).returncode == 0
