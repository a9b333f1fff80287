"""Every module of the core has tests of its own, under its name or in the table."""

from pathlib import Path

from mutants.own_tests import ELSEWHERE, core_modules, own_tests

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_core_module_has_tests_and_no_entry_is_left_over():
    modules = core_modules(ROOT)
    assert len(modules) > 40
    assert not [(module, test) for module in modules for test in own_tests(module) if not (ROOT / test).exists()]
    assert {f"composite_flow/{name}" for name in ELSEWHERE} <= set(modules)
