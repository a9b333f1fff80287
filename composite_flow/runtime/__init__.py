"""Agents as processes: one agent's side of a team (`agent`), messages, the bus that carries them, and whole teams.

`agent` is `cf.Agent`. The other modules run without JAX, so that they go onto robots as they are: `memory` and `inbox`
(what an agent keeps), `sent` (its answer as numbers).
"""
