"""Agents as processes: one agent's side of a team (`agent`), messages, the bus that carries them, and whole teams.

`agent` is `cf.Agent`, and `start` makes a process of it. Most others run without JAX, so that they go onto robots
as they are: `memory` and `inbox` (what an agent keeps), `carrying` and `chained` (what it carries over time), `sent`
(its answer as numbers), `member` and the rules `broadcast`, `tree` and `ring`, with what goes round it (`rounds`).
"""
