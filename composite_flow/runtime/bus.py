"""The bus: what is said on which topic of eclipse-zenoh, which needs no broker and which ROS 2 carries as well.

    composite-flow/TEAM/observe/3       observations of agent 3, as JSON
    composite-flow/TEAM/numbers/3       the same as float32 numbers, where nothing else is to be said
    composite-flow/TEAM/say/3           what agent 3 says to all
    composite-flow/TEAM/tell/3/5        what agent 3 says to agent 5
    composite-flow/TEAM/estimate/3      what agent 3 infers, as JSON
    composite-flow/TEAM/present/3       whom agent 3 knows to be there, as JSON
    composite-flow/TEAM/alive/3/NONCE   a token that is there as long as this start of agent 3 is
    composite-flow/TEAM/prove/3/NONCE   where this start of agent 3 replies to challenges

Callbacks run in threads of the bus. A `Bus` is a context manager, since an open session hangs at exit.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from composite_flow.errors import InputError

LEASE_SECONDS = 0.6
"""After so long without a sign of life a member is held to be gone; a process that ends is seen at once."""
SHORTEST_LEASE = 0.1  # seconds; four signs of life are sent in each

MOST_DIRECT = 8
"""Agents that connect to each other; where they are more, those who listen carry what all say.

Direct links are n (n − 1) / 2, and each must be heard of four times a lease. What zenoh found by hearsay it connects to
once: on a busy machine links miss their lease, and only those to endpoints that were named are made again (zenoh 1.10,
`closed_session`). So some pairs of 25 agents never met. Through who listens there are n links, all of them named.
"""


def bus_of(
    team: str,
    num_agents: int,
    listen: Sequence[str] = (),
    connect: Sequence[str] = (),
    through: Sequence[str] = (),
    lease: float = LEASE_SECONDS,
) -> "Bus":
    """The bus of one agent of a team of this size; arguments else as of `Bus`."""
    if through or num_agents <= MOST_DIRECT:
        return Bus(team, listen, connect, through, lease)
    return Bus(team, listen, connect, (), lease, carries=True) if listen else Bus(team, (), (), connect, lease)


class Bus:
    """One connection to a team's topics.

    Attributes:
        lease: seconds without a sign of life after which others are gone.
    """

    def __init__(
        self,
        team: str,
        listen: Sequence[str] = (),
        connect: Sequence[str] = (),
        through: Sequence[str] = (),
        lease: float = LEASE_SECONDS,
        *,
        carries: bool = False,
    ):
        """Nothing is opened before the `with` block.

        Args:
            team: whose topics.
            listen, connect: endpoints such as tcp/127.0.0.1:7450; where none are given, others are found by multicast.
            through: endpoint of one that `carries`, through which all is said and heard.
            lease: seconds without a sign of life after which others are gone.
            carries: whether it hands on what others say who are connected through it.

        Raises:
            InputError: eclipse-zenoh is not installed, an endpoint cannot be read, or the lease is too short to keep.
        """
        if not SHORTEST_LEASE <= lease < float("inf"):
            raise InputError(f"A lease has {SHORTEST_LEASE} seconds at least, not {lease}.")
        self.lease = lease
        self._zenoh = _zenoh()
        self._root, self._config = f"composite-flow/{team}", self._zenoh.Config()
        mode = "client" if through else "router" if carries else "peer"
        settings: dict[str, Any] = {"mode": mode, "transport/link/tx/lease": int(1000 * lease)}
        if listen or connect or through:
            settings |= {"scouting/multicast/enabled": False, "connect/endpoints": [*connect, *through]}
        if (listen or connect) and not through:
            settings["listen/endpoints"] = list(listen or ["tcp/127.0.0.1:0"])
        for name, value in settings.items():
            try:
                self._config.insert_json5(name, json.dumps(value))
            except self._zenoh.ZError as error:
                raise InputError(f"The bus does not take {value!r} for {name}: {error}.") from None

    def __enter__(self) -> "Bus":
        try:
            self._session = self._zenoh.open(self._config)
        except self._zenoh.ZError as error:
            raise InputError(f"The bus cannot be opened: {error}.") from None
        self._kept: list[Any] = []
        return self

    def __exit__(self, *_) -> None:
        self._session.close()

    def publish(self, topic: str, data: bytes) -> None:
        """Say something on a topic below the team's.

        It waits where the connection is behind. By default zenoh drops what it cannot send within a millisecond, and
        of 25 agents that answered at the same time most lost something.
        """
        self._session.put(f"{self._root}/{topic}", data, congestion_control=self._zenoh.CongestionControl.BLOCK)

    def listen(self, topic: str, heard: Callable[[str, bytes], None]) -> None:
        """Call `heard` with the rest of the topic and the data of all that is said there; * is any one word."""
        start = len(self._root) + 1

        def sampled(sample) -> None:
            heard(str(sample.key_expr)[start:], sample.payload.to_bytes())

        self._kept.append(self._session.declare_subscriber(f"{self._root}/{topic}", sampled))

    def be_alive(self, agent: int, nonce: int, proof: Callable[[bytes], bytes]) -> None:
        """Be seen by others, and reply to their challenges with a proof."""
        own = f"{self._root}/prove/{agent}/{nonce}"

        def asked(query) -> None:
            challenge = query.payload.to_bytes() if query.payload is not None else b""
            query.reply(own, proof(challenge))

        self._kept.append(self._session.declare_queryable(own, asked))
        self._kept.append(self._session.liveliness().declare_token(f"{self._root}/alive/{agent}/{nonce}"))

    def watch(self, seen: Callable[[int, int, bool], None]) -> None:
        """Call `seen` with agent, nonce and whether it is there: of all who are, and of every change."""

        def sampled(sample) -> None:
            if (named := _agent_and_nonce(sample)) is not None:
                seen(*named, sample.kind == self._zenoh.SampleKind.PUT)

        alive = f"{self._root}/alive/*/*"
        self._kept.append(self._session.liveliness().declare_subscriber(alive, sampled, history=True))

    def look(self, found: Callable[[int, int], None]) -> None:
        """Call `found` with agent and nonce of all who are there now."""

        def replied(reply) -> None:
            if reply.ok is not None and (named := _agent_and_nonce(reply.ok)) is not None:
                found(*named)

        self._session.liveliness().get(f"{self._root}/alive/*/*", replied, timeout=5.0)

    def alive(self, agent: int, seconds: float) -> bool:
        """Whether an agent of this number is there."""
        replies = self._session.liveliness().get(f"{self._root}/alive/{agent}/*", timeout=seconds)
        return any(reply.ok is not None for reply in replies)

    def challenge(self, agent: int, nonce: int, challenge: bytes, replied: Callable[[bytes], None]) -> None:
        """Call `replied` with the reply to a challenge, if one comes."""

        def answered(reply) -> None:
            if reply.ok is not None:
                replied(reply.ok.payload.to_bytes())

        topic = f"{self._root}/prove/{agent}/{nonce}"
        self._session.get(topic, answered, payload=challenge, timeout=5.0)


def _agent_and_nonce(sample) -> tuple[int, int] | None:
    """Whose token it is, if it is one."""
    *_, agent, nonce = str(sample.key_expr).split("/")
    return (int(agent), int(nonce)) if agent.isdecimal() and nonce.isdecimal() else None


def _zenoh() -> Any:
    try:
        import zenoh
    except ImportError:
        raise InputError("Agents as processes need eclipse-zenoh: pip install 'composite-flow[runtime]'.") from None
    return zenoh
