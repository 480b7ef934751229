"""Catalogues of the sample guests, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.survey.build import build_catalog

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="session")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A catalogue of each sample guest, by architecture."""
    folder = tmp_path_factory.mktemp("catalogs")
    guests = {arch: SAMPLES / f"guest-{arch}.elf" for arch in ("x86_64", "arm64")}
    built = build_catalog(guests.values(), folder)
    assert all(built), [str(one) for one in built]
    return {arch: one.file for arch, one in zip(guests, built, strict=True) if one.file}


@pytest.fixture
def catalog(catalogs: dict[str, Path], arch: str) -> Path:
    """That of the sample guest of ``arch``."""
    return catalogs[arch]
