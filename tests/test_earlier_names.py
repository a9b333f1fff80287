"""Names that an earlier version exported from a package's face still import from there."""

from composite_flow import baselines, certificate


def test_earlier_names_are_the_present_ones():
    assert certificate.CertificateWorth is certificate.Reliability
    assert certificate.what_checks_are_worth is certificate.measure_reliability
    assert baselines.Trained is baselines.TrainedBaseline
    assert baselines.train_rival is baselines.train_baseline
