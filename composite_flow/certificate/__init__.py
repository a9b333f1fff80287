"""How far an answer can be trusted: checks of every sample, radii, and what these are worth on new episodes (A.7).

Read `checks` (the paper's two conditions), `sweep_radii` (is the composite map stable?), then `radius`, `conformal` and
`calibration` (a bound that holds for whole new episodes) and `reliability` (how often accepted answers are wrong).
"""

from composite_flow.certificate.checks import Certificate, certify, certify_batch
from composite_flow.certificate.conformal import conformal_radius, episode_scores
from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.certificate.reliability import CertificateWorth, acceptance, right_samples, what_checks_are_worth
from composite_flow.certificate.sweep_radii import SweepRadii, last_sweep_radii

__all__ = [
    "Certificate",
    "CertificateWorth",
    "ConformalRadius",
    "SweepRadii",
    "acceptance",
    "certify",
    "certify_batch",
    "check_radius",
    "conformal_radius",
    "episode_scores",
    "last_sweep_radii",
    "right_samples",
    "what_checks_are_worth",
]
