"""How much of an agent's history can be told from its answer, and how much the true state tells of it anyway.

python examples/what_an_answer_reveals.py                     # nine sensors, each of which may miss a target
python examples/what_an_answer_reveals.py smax:zerg_5_vs_5 2000 5 3000     # world, episodes, length, training steps
"""

import sys

import jax

import composite_flow as cf
from composite_flow.analysis.revealed import SOURCES, NetworkSettings, history_parts, revealed
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.training.loss import sample_pairs

KEY = jax.random.key(0)


def main(world="sensor:3x3,targets=2,miss=0.3", episodes=1024, length=3, steps=600, num_steps=4000, blocks=15):
    """Train answers on half of the episodes, learn to tell histories on a quarter, and measure on the last quarter."""
    data = cf.HistoryDataset(cf.collect(cf.problem_from_text(world), episodes, key=KEY), length=length)
    train, others, held_out = data.split(key=KEY, fractions=(0.5, 0.25, 0.25))
    config = cf.TrainingConfig(learn="fusion", team_denoiser=False, width=128, steps=steps)
    answers = cf.fit(train, others, config, key=KEY).answers
    learned, unseen = (sample_pairs(JointSteps(part), KEY, num_steps) for part in (others, held_out))
    parts, settings = history_parts(data.layout), NetworkSettings(blocks=blocks)
    found = revealed(answers, learned, unseen, parts, key=KEY, settings=settings)
    print(f"R² on held-out episodes of {world}, by ridge regression and by a network")
    for name, part in found.items():
        shares = (f"{source} {part.ridge[source]:.2f} {part.network[source]:.2f}" for source in SOURCES)
        print(f"{name} ({part.columns} columns):", "; ".join(shares))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:]))
