"""Devices that JAX is told to use and that are not there are refused before a command begins."""

import functools
import os
from collections.abc import Callable

import jax

from composite_flow.errors import InputError


def on_devices(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which looks at the devices first; not for one that joins other hosts, which comes before that."""

    @functools.wraps(command)
    def looked(*arguments, **options) -> None:
        check_devices()
        command(*arguments, **options)

    return looked


def check_devices() -> None:
    """Refuse devices that JAX is told to use and that are not there.

    Raises:
        InputError: which were named.
    """
    if not os.environ.get("JAX_PLATFORMS"):
        return
    try:
        jax.devices()
    except Exception as error:  # whatever the library of such devices raises when it is loaded
        named = os.environ["JAX_PLATFORMS"]
        raise InputError(
            f"JAX_PLATFORMS names {named}, but JAX finds no such device here; unset it or name others."
        ) from error
