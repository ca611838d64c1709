from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import vector

from hepgan import vectors
from hepgan.vectors import _kernels


def test_the_installed_vector_has_every_private_name_that_the_backend_uses():
    missing = [name for name in _kernels.METHOD_NAMES if not hasattr(vector._methods, name)]
    assert not missing, (
        f"vector {vector.__version__} no longer has {missing} in vector._methods; adapt hepgan.vectors to it "
        "or lower the upper bound on vector in pyproject.toml"
    )
    for package, names in _kernels.COMPUTE_MODULES.items():
        for name in names:
            table = _kernels.compute_module(package, name).dispatch_map
            assert table, (
                f"vector {vector.__version__}: vector._compute.{package}.{name}.dispatch_map is empty"
            )


def test_every_private_name_in_use_is_checked():
    sources = "".join(path.read_text() for path in Path(vectors.__file__).parent.glob("*.py"))
    used = set(re.findall(r"\bmethods\.(\w+)", sources))
    assert len(used) > 10
    assert used <= set(_kernels.METHOD_NAMES)


def test_a_vector_without_them_gives_a_clear_import_error():
    with pytest.raises(ImportError, match=r"needs vector>=1\.9,<2, but vector .* lacks .*_handler_priority"):
        _kernels.check_vector(SimpleNamespace())


def test_the_backend_covers_every_kernel_of_vector():
    folder = Path(vector.__file__).parent / "_compute"
    for package, names in _kernels.COMPUTE_MODULES.items():
        there = {path.stem for path in (folder / package).glob("*.py")} - {"__init__"}
        assert there == set(names), f"vector {vector.__version__} changed its {package} kernels"


def test_no_public_property_or_method_still_goes_through_vectors_own_dispatch():
    for cls in (vectors.MomentumTorch2D, vectors.MomentumTorch3D, vectors.MomentumTorch4D):
        for name in dir(cls):
            function = getattr(cls, name)
            function = function.fget if isinstance(function, property) else function
            code = getattr(function, "__code__", None)
            assert code is None or "dispatch" not in code.co_names, f"{cls.__name__}.{name}"


def test_the_backend_imports_nothing_of_hepgan():
    for path in Path(vectors.__file__).parent.glob("*.py"):
        assert "hepgan" not in "".join(
            line for line in path.read_text().splitlines() if line.lstrip().startswith(("import ", "from "))
        )
