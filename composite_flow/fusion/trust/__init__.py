"""How far what a team says can be trusted: intervals and regions that cover as often as they say.

Read `scores` (how far the truth lies from an estimate), `quantiles` (bounds for new episodes, from calibration
episodes), `measure` (these bounds for every feature and size of team) and `coverage` (how often they hold).
"""

from composite_flow.fusion.trust.coverage import Coverage, measure_coverage
from composite_flow.fusion.trust.measure import calibrate_answers, measure_scale

__all__ = ["Coverage", "calibrate_answers", "measure_coverage", "measure_scale"]
