"""The version stands in two places, and is one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import backprop as bp


def test_the_package_and_its_metadata_agree():
    metadata = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["version"] == bp.__version__
