from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the development samples; tests that need it skip elsewhere."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("HEPGAN_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"needs the development samples, which are not at {path} (set HEPGAN_SHARED_DATA)")
    return path
