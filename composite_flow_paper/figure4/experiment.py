"""Figure 4: 25 sensors find two targets by passing one noisy state around, in any order (Finding 6, Evidence 6.1).

(a) Composite diffusion over agents who together identify the state reaches it in every order.
(b) Partial composite diffusion ends in some state that its participants allow (Corollary 7.2).

Beside the picture: how often all samples are exact over held-out episodes, with all states seen in training and with
a tenth of them withheld; where partial flows end, after training by Eq. (1) alone, after training also where flows go
(`training/flow_loss.py`), and with the ideal denoiser, the latter two also stirred (`composite/reconstruct.py`); and
how long training takes until 99% of the samples are exact, for our recipe and for the paper's (history at the input,
width 1024).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.figure4.cell import Figure4Settings, compute_ideal, compute_paper, compute_rates
from composite_flow_paper.figure4.fusion import compute_fusion, compute_samples
from composite_flow_paper.figure4.plot import draw
from composite_flow_paper.figure4.report import summarise, tables
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.shared.sensor_runs import SensorSettings

PRESETS = {
    "smoke": Figure4Settings(
        rows=3,
        columns=3,
        ours=SensorSettings(
            num_episodes=256,
            training=TrainingConfig(width=96, batch=256, steps=2500, learning_rate=4e-3, evaluate_every=400),
            num_joint=64,
        ),
        flows=TrainingConfig(
            width=96, batch=128, steps=800, learning_rate=4e-3, initial="identity", flow_points=64, evaluate_every=400
        ),
        num_ideal=8,
        paper=TrainingConfig(
            width=96, batch=256, history_at="input", steps=800, schedule="constant", evaluate_every=400
        ),
        num_seeds=1,
        num_histories=64,
        num_samples=2,
        num_participants=(2, 5),
        num_stirred_sweeps=20,
        num_stirred=32,
        fusion=TrainingConfig(learn="fusion", team_denoiser=False, width=32, depth=2, steps=300, learning_rate=4e-3),
        samples=TrainingConfig(learn="fusion", width=48, depth=2, steps=400, learning_rate=3e-3),
        num_sampled=8,
        num_joint_samples=50,
        num_drawn=40,
        num_hops=3,
    ),
    "laptop": Figure4Settings(num_steady_seeds=3),
    "paper": Figure4Settings(
        ours=SensorSettings(
            num_episodes=4096, training=TrainingConfig(width=1024, batch=512, epochs=1000, history_at="input")
        ),
        flows=None,
        fusion=None,
        samples=None,
        paper=None,
    ),
}


_BEYOND = ("fusion", "samples", "num_sampled", "num_joint_samples")  # settings that the paper's cells do not read


def cells(settings: Figure4Settings, seed: int) -> Sequence[Cell]:
    """Ours, with states withheld, trained where flows go; the ideal denoiser; fusion; then the paper's recipe."""
    beyond = replace(settings, paper=None)  # what fusion's cells depend on
    told = replace(settings, **{name: getattr(Figure4Settings(), name) for name in _BEYOND})
    alone = replace(told, paper=None)  # what all others but the paper's depend on
    withheld = replace(alone, ours=replace(settings.ours, withhold_states=settings.withhold_states))
    count = settings.num_seeds
    runs = [("ours", count, alone, partial(compute_rates, settings)),
            ("withheld", count, alone, partial(compute_rates, withheld))]  # fmt: skip
    if settings.flows is not None:
        flows = replace(alone, ours=replace(settings.ours, training=settings.flows))
        runs.append(("flows", count, flows, partial(compute_rates, flows, stirred=True)))
    if settings.num_ideal:
        runs.append(("ideal", 1, alone, partial(compute_ideal, settings)))
    if settings.fusion is not None:
        fusion = replace(beyond, ours=replace(settings.ours, training=settings.fusion))
        fusion_withheld = replace(fusion, ours=replace(fusion.ours, withhold_states=settings.withhold_states))
        runs.append(("fusion", count, fusion, partial(compute_fusion, fusion)))
        runs.append(("fusion_withheld", count, fusion_withheld, partial(compute_fusion, fusion_withheld)))
    if settings.samples is not None:
        samples = replace(beyond, ours=replace(settings.ours, training=settings.samples))
        runs.append(("fusion_samples", 1, samples, partial(compute_samples, samples)))
    if settings.paper is not None:
        runs.append(("paper", settings.num_paper_seeds, told, partial(compute_paper, settings)))
        steady = partial(compute_paper, settings, steadily=True)
        runs.append(("paper_steady", settings.num_steady_seeds, told, steady))
    return [
        Cell(name, one, replace(asked, num_seeds=1, num_paper_seeds=1, num_steady_seeds=0), partial(compute, one))
        for name, number, asked, compute in runs
        for one in range(seed, seed + number)
    ]


EXPERIMENT = Experiment("figure4", PRESETS, cells, summarise, tables, draw)
