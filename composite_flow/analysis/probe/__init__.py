"""What the state, a memory, and the others' observations are worth to a policy, before anyone trains one.

Read `probing` (the five things that an agent can act on), then `exact` (dynamic programming over states and beliefs),
`windows` and `search` (policies of agents that see a part each), `watched` (worlds that no action moves), `short_runs`
and `verdict`.
"""

from composite_flow.analysis.probe.earned import Earned
from composite_flow.analysis.probe.probing import PARTS, Probe, probe
from composite_flow.analysis.probe.verdict import Worth

__all__ = ["PARTS", "Earned", "Probe", "Worth", "probe"]
