"""Several hosts that train together: how they find each other, and how they fail together.

SLURM, Open MPI and Kubernetes tell each process where it stands, and `jax.distributed` asks them. Elsewhere the first
host is named on all of them. There the others report to it before JAX connects them: JAX ends the whole process, with
no error that could be caught, where a host does not come.
"""

import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import jax

from composite_flow.errors import CompositeFlowError, InputError, MismatchError
from composite_flow.training.devices import texts_of_all

PATIENCE = 300.0
"""Seconds that hosts wait for each other."""

Result = TypeVar("Result")

_GREETING, _ALL_HERE = "composite-flow host", "all here"
_BETWEEN = 0.2  # seconds between two tries to reach the first host
_GREETING_SECONDS = 5.0  # after which who connects and says nothing is no host


def join_hosts(
    coordinator: str | None = None,
    host_index: int | None = None,
    num_hosts: int | None = None,
    *,
    patience: float = PATIENCE,
) -> None:
    """Connect this process with those on other hosts; to be called before JAX computes anything.

    Without arguments the cluster tells all of them: SLURM, Open MPI or Kubernetes.

    Args:
        coordinator: HOST:PORT of the first host, the same on all; a port that is free there.
        host_index: number of this host, from 0 (the first) to num_hosts - 1.
        num_hosts: how many there are.
        patience: seconds to wait for the others.

    Raises:
        InputError: an argument is missing or out of range, there is no cluster, or a host does not come in time.
    """
    if not (math.isfinite(patience) and patience > 0):
        raise InputError(f"The seconds to wait for the other hosts must be positive, not {patience}.")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # for processors; GPUs have their own
    seconds = math.ceil(patience)
    if coordinator is None and host_index is None and num_hosts is None:
        _initialize(None, None, None, seconds)
        return
    if coordinator is None or host_index is None or num_hosts is None:
        raise InputError("Give coordinator, host index and number of hosts together, or none of them in a cluster.")
    if num_hosts < 1:
        raise InputError(f"The number of hosts must be at least 1, not {num_hosts}.")
    if not 0 <= host_index < num_hosts:
        raise InputError(f"The host index must be 0 to {num_hosts - 1} for {num_hosts} hosts, not {host_index}.")
    address = _address(coordinator)
    if host_index == 0:
        wait_for_hosts(address[1], num_hosts, patience)
    else:
        report_to_first(address, host_index, num_hosts, patience)
    _initialize(coordinator, num_hosts, host_index, seconds)


def on_all_hosts(action: Callable[[], Result]) -> Result:
    """Do something on every host; where it fails on one, it fails on all, so that none waits for another in vain.

    Raises:
        InputError: it failed on another host; the sentence names the first of them.
        CompositeFlowError, OSError: as `action` on this host.
    """
    result, error = None, None
    try:
        result = action()
    except (CompositeFlowError, OSError) as caught:
        error = caught
    faults = texts_of_all("" if error is None else str(error))
    if error is not None:
        raise error
    for index, fault in enumerate(faults):
        if fault:
            raise InputError(f"Host {index} of {len(faults)} failed: {fault}")
    return result  # pyright: ignore[reportReturnType] (of the action that did not fail)


def check_same_on_all_hosts(what: str) -> None:
    """Refuse to go on where hosts found different things.

    Args:
        what: this host has, in words.

    Raises:
        MismatchError: another host's words differ.
    """
    found = texts_of_all(what)
    other = next((index for index, words in enumerate(found) if words != found[0]), None)
    if other is not None:
        raise MismatchError(
            f"The hosts do not see the same files: host 0 has {found[0]}, host {other} has {found[other]}; give all "
            "of them the same data and one folder for the run that all can read."
        )


def _initialize(coordinator: str | None, num_hosts: int | None, host_index: int | None, seconds: int) -> None:
    try:
        jax.distributed.initialize(coordinator, num_hosts, host_index, initialization_timeout=seconds)
    except ValueError as error:  # JAX found no coordinator
        raise InputError(
            "Neither SLURM, Open MPI nor Kubernetes started this process; give the coordinator (HOST:PORT of the "
            "first host), the host index and the number of hosts."
        ) from error
    except RuntimeError as error:
        raise InputError(f"The hosts could not be joined: {error}") from error


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"The coordinator must be HOST:PORT, such as 10.0.0.1:1234, not '{coordinator}'.")
    return host.strip("[]"), int(port)  # brackets stand around IPv6 addresses


def wait_for_hosts(port: int, num_hosts: int, patience: float) -> None:
    """On the first host: wait until all others have reported to this port, and tell them so.

    Raises:
        InputError: the port cannot be used, or some did not report in time.
    """
    deadline, reported = time.monotonic() + patience, {}
    try:
        with _listening(port) as server:
            while len(reported) < num_hosts - 1:
                server.settimeout(max(deadline - time.monotonic(), 1e-3))
                _hear(server.accept()[0], num_hosts, reported)
        for connection in reported.values():
            _say(connection, _ALL_HERE)
    except TimeoutError as error:
        missing = ", ".join(str(index) for index in range(1, num_hosts) if index not in reported)
        raise InputError(
            f"Within {patience:g} seconds these of {num_hosts} hosts did not report: {missing}; start the same command "
            f"there, each with its host index, and let them reach port {port} of this host."
        ) from error
    finally:
        for connection in reported.values():
            connection.close()


def _listening(port: int) -> socket.socket:
    """A server on all addresses of this host."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(f"Port {port} of this host cannot be used ({error.strerror}); choose another one.") from error


def _hear(connection: socket.socket, num_hosts: int, reported: dict[int, socket.socket]) -> None:
    """Take the report of a host; one that does not fit is told why, a stranger nothing."""
    connection.settimeout(_GREETING_SECONDS)
    try:
        greeting, index, theirs = _heard(connection).rsplit(" ", 2)
        index, theirs = int(index), int(theirs)
    except (OSError, ValueError):
        greeting, index, theirs = "", 0, 0
    if greeting == _GREETING and theirs == num_hosts and 0 < index < num_hosts and index not in reported:
        reported[index] = connection
        return
    with connection, suppress(OSError):  # it may be gone
        if greeting == _GREETING and theirs != num_hosts:
            _say(connection, f"The first host waits for {num_hosts} hosts, not {theirs}; give all the same number.")
        elif greeting == _GREETING:
            _say(connection, f"Another host reported with index {index} already; give each an index of its own.")


def report_to_first(address: tuple[str, int], host_index: int, num_hosts: int, patience: float) -> None:
    """On another host: tell the first that this one is there, and wait until all are.

    Raises:
        InputError: the first was not there in time, or did not take this one.
    """
    deadline = time.monotonic() + patience
    while True:
        answer, fault = "", "it ended while this one waited for the others"
        try:
            with socket.create_connection(address, max(deadline - time.monotonic(), 1e-3)) as connection:
                _say(connection, f"{_GREETING} {host_index} {num_hosts}")
                answer = _heard(connection)
        except OSError as error:
            fault = error.strerror or "it does not answer, or other hosts are missing"
        if answer == _ALL_HERE:
            return
        if answer:
            raise InputError(answer)
        if time.monotonic() + _BETWEEN >= deadline:
            raise InputError(
                f"The first host could not be reached at {':'.join(map(str, address))} within {patience:g} seconds "
                f"({fault}); start the same command there, with host index 0, or correct the coordinator."
            )
        time.sleep(_BETWEEN)


def _say(connection: socket.socket, sentence: str) -> None:
    connection.sendall(f"{sentence}\n".encode())


def _heard(connection: socket.socket) -> str:
    """One line, without its end; empty where the other side has closed."""
    with connection.makefile(encoding="utf-8") as lines:
        return lines.readline(200).rstrip("\n")
