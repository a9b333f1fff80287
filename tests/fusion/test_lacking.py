"""What a model was not taught is told with the command and the settings that add it."""

import pytest

from composite_flow.fusion.lacking import lacking

TOLD = {
    ("fusion", True): ("no fusion", "--resume --learn both`", 'TrainingConfig(learn="both")'),
    ("chain", True): ("no chain", "--resume --learn both --chain`", 'TrainingConfig(learn="both", chain=True)'),
    ("chain", False): ("no chain", "--resume --chain`", "TrainingConfig(chain=True)"),
    ("filter", False): ("no filter", "--resume --over-time residual`", 'TrainingConfig(over_time="residual")'),
    ("way to tell whom to ask", False): (
        "no way to tell whom to ask",
        "--resume --next-agent`",
        "TrainingConfig(next_agent=True)",
    ),
}


@pytest.mark.parametrize(("what", "fusion"), TOLD)
def test_it_names_what_is_lacking_and_what_adds_it(what, fusion):
    said = str(lacking(what, fusion=fusion))
    assert all(part in said for part in TOLD[what, fusion]), said
