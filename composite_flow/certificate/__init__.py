"""How far an answer can be trusted: checks of every sample, radii, and their reliability on new episodes (A.7).

Read `checks` (the paper's two conditions), `sweep_radii` (is the composite map stable?), then `radius`, `conformal` and
`calibration` (bounds that hold for whole new episodes) and `reliability` (how often accepted answers are wrong).
"""

from composite_flow.certificate.checks import Certificate, certify, certify_agent, certify_batch
from composite_flow.certificate.conformal import conformal_radius, episode_scores
from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.certificate.reliability import Reliability, acceptance, measure_reliability, right_samples
from composite_flow.certificate.sweep_radii import SweepRadii, last_sweep_radii

# The names that version 0.1 gave to two of these.
CertificateWorth, what_checks_are_worth = Reliability, measure_reliability

__all__ = [
    "Certificate",
    "CertificateWorth",
    "ConformalRadius",
    "Reliability",
    "SweepRadii",
    "acceptance",
    "certify",
    "certify_agent",
    "certify_batch",
    "check_radius",
    "conformal_radius",
    "episode_scores",
    "last_sweep_radii",
    "measure_reliability",
    "right_samples",
    "what_checks_are_worth",
]
