"""`agent`: one agent of a team as a process on a message bus."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes, UseAppendAction

from composite_flow.cli.options import RunFolder
from composite_flow.errors import InputError


@dataclass(frozen=True)
class TeamOptions:
    """How a team infers and speaks; the same for all its members."""

    rule: Literal["broadcast", "tree", "ring", "chain"] = "broadcast"
    """Each answer to all; running sums along a tree; or round a ring composite diffusion, or once the gated chain."""
    deadline: float = 0.1
    """Seconds after an observation at which its estimate is due, of those heard by then."""
    bits: Literal[32, 16, 8] = 32
    """Of a number in messages."""
    message_bytes: int | None = None
    """Most bytes of a message; what weighs most is said first."""
    key: Path | None = None
    """File with the team's secret, 16 bytes at least, by which messages are signed; others are dropped."""
    max_age: int = 0
    """Steps for which an answer counts after its own."""
    level: float = 0.9
    """Of intervals."""
    lease: float = 0.6
    """Seconds without a sign of life after which a member is held to be gone; more where machines are busy."""
    robust: bool = False
    """Leave out those whose answers contradict all others'."""
    over_time: bool = False
    """Carry what the team knows from step to step: a model of `train --over-time product` by broadcast, one of
    `--over-time residual` or `gated` round a ring."""
    samples: int = 4
    """Of composite diffusion, round a ring."""
    sweeps: int = 6
    """Passes through the agents, round a ring."""
    lose: float = 0.0
    """For tests: share of messages that are lost."""
    delay: float = 0.0
    """For tests: seconds by which messages are late at most."""
    parted: tuple[int, int] | None = None
    """For tests: first and last step at which agents of even and of odd numbers hear nothing of each other."""
    team_seed: int = 0
    """Of the noise and orders round a ring, and of what tests lose; the same for all members."""


def agent(
    run: RunFolder,
    /,
    name: str,
    team: str,
    *,
    listen: UseAppendAction[tuple[str, ...]] = (),
    connect: UseAppendAction[tuple[str, ...]] = (),
    through: UseAppendAction[tuple[str, ...]] = (),
    options: OmitArgPrefixes[TeamOptions] = TeamOptions(),  # noqa: B008 (frozen)
) -> None:
    """Run one agent: it reads its observations from the bus, tells the others its answer, and publishes what it infers.

    Topics of team T and agent 3, below composite-flow/T: observations come in on observe/3, as JSON with `observation`,
    and `action` (since the last one), `step` and `begins` (an episode) where they are known, or on numbers/3 as float32
    numbers alone. Estimates go out on estimate/3, as JSON. It ends when it is interrupted or terminated.

    Args:
        run: folder of a finished run, the same for the whole team.
        name: the agent's name, or its number.
        team: name of the team.
        listen: endpoints to listen at, such as tcp/0.0.0.0:7450; without endpoints others are found by multicast.
        connect: endpoints to connect to. In a team of more than eight, all is said through those who listen there; name
            two of them, and the second serves where the first is gone.
        through: endpoint of a router, such as zenohd, through which all is said and heard; in place of the others.
    """
    from composite_flow.model import load
    from composite_flow.runtime.bus import bus_of
    from composite_flow.runtime.process import run_until_stopped
    from composite_flow.runtime.start import agent_process

    settings, inference, loss = parts_of(options, team)
    model = load(run)
    with bus_of(team, model.layout.num_agents, listen, connect, through, options.lease) as bus:
        run_until_stopped(agent_process(bus, model, name, settings, inference, loss))


def parts_of(options: TeamOptions, team: str):
    """Settings of the messages, the inference, and what is lost."""
    from composite_flow.runtime.inference import Inference
    from composite_flow.runtime.loss import Loss
    from composite_flow.runtime.member import Settings

    key = None if options.key is None else options.key.read_bytes().strip()
    settings = Settings(team, options.deadline, options.bits, options.message_bytes, key)
    inference = Inference(
        options.rule,
        options.max_age,
        options.level,
        options.robust,
        options.samples,
        options.sweeps,
        options.team_seed,
        options.over_time,
    )
    if not 0 <= options.lose < 1 or options.delay < 0:
        raise InputError("--lose is a share from 0 to below 1, and --delay a time that is not negative.")
    return settings, inference, Loss(options.lose, options.delay, options.team_seed, options.parted)
