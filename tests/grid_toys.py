"""The toy events with fields that have a shape, of which benchmarks make files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PLACE = Path(__file__).parents[1] / "benchmarks" / "showers.py"
_described = importlib.util.spec_from_file_location("showers", _PLACE)
_module = importlib.util.module_from_spec(_described)
_described.loader.exec_module(_module)

SHAPES, pulses, showers = _module.SHAPES, _module.pulses, _module.showers
