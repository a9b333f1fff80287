"""What `import composite_flow` gives, and what it does not load for it."""

import subprocess
import sys

import pytest

import composite_flow as cf

NOT_NEEDED = """
    matplotlib tyro rich scipy h5py diffrax jaxmarl flashbax tensorstore tensorboardX threadpoolctl
    composite_flow.policy composite_flow.analysis composite_flow.plots composite_flow.cli composite_flow_paper
""".split()


def test_the_import_loads_little_more_than_equinox_and_optax():
    """Neither what only the command line or single functions need, nor more than a few modules of others."""
    code = "import sys, equinox, optax; old = set(sys.modules); import composite_flow; print(*set(sys.modules) - old)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith(tuple(NOT_NEEDED))] == []
    assert len([name for name in loaded if not name.startswith("composite_flow")]) < 20


def test_all_names_of_the_public_face_exist():
    assert all(hasattr(cf, name) for name in cf.__all__)
    assert set(cf.__all__) <= set(dir(cf))
    with pytest.raises(AttributeError, match="'nothing'"):
        cf.nothing  # type: ignore # noqa: B018
