"""`worlds`: sizes of what is there, and a sentence for what is not."""

import json

from composite_flow import cli


def test_worlds_tell_sizes_and_what_they_give(capsys):
    assert cli.main(["worlds", "--world", "tabular:xor", "lbf:Foraging-2s-8x8-2p-2f-v3", "lbf:none", "--json"]) == 0
    coins, field, none = json.loads(capsys.readouterr().out)["worlds"]
    assert coins == {
        "world": "tabular:xor",
        "agents": 2,
        "actions": 2,
        "observation": 2,
        "state": 2,
        "steps": 16,
        "use": "episodes, policies, exact beliefs",
    }
    assert (field["state"], field["steps"], field["use"]) == (70, 50, "episodes")
    assert none["agents"] is None and "There is no environment lbf:none" in none["use"]
