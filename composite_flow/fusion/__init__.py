"""What the team says together: each agent answers once, and answers add up, for any subset of the team, in any order.

Read `answers` (what one agent says) and `fuse` (how answers add up), then `ideal` (where sums are exact), `network`
(the answers that training fits) and `loss` (by what), `features` for the types of a state's features. `screening` and
`sparse` are for large states; `chain` is another way to say something together, one message that goes round, and
`chain_estimate` infers by it. How far estimates can be trusted is in `trust`.
"""

from composite_flow.fusion.answers import Answer, Answers, Prior, prior_of
from composite_flow.fusion.features import FeatureTypes, find_types
from composite_flow.fusion.fuse import fuse, taking_part
from composite_flow.fusion.intervals import TeamQuantiles, measure_quantiles
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.team_estimate import TeamEstimate

__all__ = [
    "Answer",
    "AnswerNetwork",
    "Answers",
    "FeatureTypes",
    "Prior",
    "TeamEstimate",
    "TeamQuantiles",
    "find_types",
    "fuse",
    "measure_quantiles",
    "prior_of",
    "taking_part",
]
