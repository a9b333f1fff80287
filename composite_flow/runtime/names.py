"""Which agent a name means. Agents are numbered from 0 on, as the agents' axis of the data is."""

from collections.abc import Mapping
from typing import Any

from composite_flow.errors import InputError


def agent_number(agent: int | str, layout: Mapping[str, Any]) -> int:
    """The number of an agent, which is given by its name or by its number, this also in words.

    Args:
        agent: name or number.
        layout: settings of a `HistoryLayout`.

    Raises:
        InputError: there is no such agent.
    """
    text, count, names = str(agent).strip(), layout["num_agents"], list(layout.get("agent_names") or ())
    if text in names:
        return names.index(text)
    if not (text.isdecimal() and int(text) < count):
        known = f", named {', '.join(names[:4])}{' …' if len(names) > 4 else ''}" if names else ""
        raise InputError(f"There is no agent {agent!r}; the agents are 0 to {count - 1}{known}.")
    return int(text)
