"""Which tests belong to which module: the mirrored file, or those of the table where names differ."""

from pathlib import Path

CORE = (
    "composite/*.py",
    "fusion/*.py",
    "fusion/over_time/*.py",
    "fusion/trust/*.py",
    "certificate/*.py",
    "fixed_points.py",
    "flow.py",
    "belief.py",
    "training/*loss.py",
    "data/windows.py",
)

ELSEWHERE = {
    "composite/check.py": ["composite/test_rule.py"],
    "composite/plan.py": ["composite/test_sampling.py", "composite/test_reconstruct.py"],
    "composite/turns.py": ["composite/test_reconstruct.py", "composite/test_rule.py"],
    "fusion/answers.py": ["fusion/test_fuse.py", "fusion/test_learned_answers.py"],
    "fusion/asking.py": ["fusion/test_next_agent.py", "training/test_next_agent_stage.py"],
    "fusion/calibration.py": ["fusion/trust/test_trust.py"],
    "fusion/contradictions.py": ["fusion/test_doubts.py"],
    "fusion/evaluation.py": ["fusion/test_fusion_evaluation.py"],
    "fusion/expected_error.py": ["fusion/test_next_agent.py"],
    "fusion/ideal.py": ["fusion/test_fuse.py"],
    "fusion/joint_steps.py": ["fusion/test_joint_steps.py", "fusion/test_screening.py"],
    "fusion/learned.py": [
        *(f"fusion/test_{of}.py" for of in ("model_fuses", "chain_estimate", "lacking", "doubts", "team_denoiser")),
    ],
    "fusion/levels.py": ["fusion/trust/test_trust.py"],
    "fusion/loss.py": ["fusion/test_learned_answers.py"],
    "fusion/network.py": ["fusion/test_learned_answers.py"],
    "fusion/next_agent_loss.py": ["fusion/test_next_agent.py", "training/test_next_agent_stage.py"],
    "fusion/one_estimate.py": [
        *(
            "fusion/test_model_fuses.py",
            "runtime/test_agent.py",
            "runtime/test_tree_and_ring.py",
            "fusion/test_doubts.py",
        ),
    ],
    "fusion/posterior.py": ["fusion/test_fuse.py"],
    "fusion/ranking.py": ["fusion/test_next_agent.py"],
    "fusion/region.py": ["fusion/trust/test_trust.py"],
    "fusion/robust.py": ["fusion/test_doubts.py"],
    "fusion/slot_answer.py": ["fusion/test_sparse.py"],
    "fusion/state_sets.py": ["fusion/trust/test_state_sets.py"],
    "fusion/structure.py": ["fusion/test_sparse.py", "fusion/test_screening.py"],
    "fusion/team_estimate.py": [
        *(
            "fusion/test_model_fuses.py",
            "fusion/test_intervals.py",
            "fusion/test_next_agent.py",
            "fusion/test_doubts.py",
        ),
        *("fusion/trust/test_trust.py", "fusion/trust/test_state_sets.py"),
    ],
    "fusion/team_loss.py": ["fusion/test_team_denoiser.py"],
    "fusion/team_network.py": ["fusion/test_team_network.py", "fusion/test_team_denoiser.py"],
    "fusion/verdict.py": ["fusion/test_doubts.py"],
    "fusion/trust/coverage.py": ["fusion/trust/test_trust.py"],
    "fusion/trust/measure.py": ["fusion/trust/test_trust.py"],
    "fusion/trust/scores.py": ["fusion/trust/test_trust.py"],
    "fusion/trust/set_scores.py": ["fusion/trust/test_state_sets.py"],
    "fusion/trust/usual.py": ["fusion/test_doubts.py"],
    "certificate/calibration.py": ["certificate/test_conformal.py"],
    "certificate/radius.py": ["certificate/test_conformal.py"],
    "certificate/reliability.py": ["certificate/test_checks.py"],
    "certificate/verdict.py": ["certificate/test_reconstruction.py"],
    "certificate/sweep_radii.py": ["certificate/test_checks.py"],
    "fixed_points.py": ["test_fixed_points.py", "test_ideal_fixed_points.py"],
    "flow.py": ["test_flow.py", "test_settle.py"],
    "training/loss.py": ["training/test_fit.py", "training/test_flow_loss.py"],
    "data/windows.py": ["data/test_dataset.py"],
    "fusion/over_time/alone.py": ["runtime/test_carrying.py"],
    "fusion/over_time/rule.py": ["runtime/test_chained.py", "policy/test_belief_input.py"],
    **{
        f"fusion/over_time/{name}.py": [f"fusion/over_time/test_{of}.py" for of in ("filters", "exact_filters")]
        for name in ("build", "carried", "chains", "episode", "product", "reader", "segments")
    },
}


def core_modules(root: Path) -> list[str]:
    """Paths of the core's modules from the root of the project."""
    found = [path for pattern in CORE for path in sorted((root / "composite_flow").glob(pattern))]
    return [str(path.relative_to(root)) for path in found if path.name != "__init__.py"]


def own_tests(module: str) -> tuple[str, ...]:
    """Paths of the tests of a module."""
    path = Path(module).relative_to("composite_flow")
    mirrored = [str(path.with_name(f"test_{path.name}"))]
    return tuple(f"tests/{name}" for name in ELSEWHERE.get(str(path), mirrored))
