"""Which agent a name means. Agents are numbered from 0 on, as the agents' axis of the data is."""

from composite_flow.errors import InputError


def agent_number(name: int | str, num_agents: int) -> int:
    """The number of an agent, which may be given in words.

    Raises:
        InputError: there is no such agent.
    """
    text = str(name).strip()
    if not text.isdecimal() or int(text) >= num_agents:
        raise InputError(f"There is no agent {name!r}; the agents are 0 to {num_agents - 1}.")
    return int(text)
