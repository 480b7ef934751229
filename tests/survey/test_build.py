"""Catalogues are built by one process or many, kept, and told of when they cannot be."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest

from kprobesim import CatalogError, UsageError
from kprobesim.catalog.file import open_catalog
from kprobesim.survey import build
from kprobesim.survey.build import build_catalog
from kprobesim.survey.known import open_known

SAMPLES = Path(__file__).parents[2] / "samples"
BOTH = [SAMPLES / "guest-x86_64.elf", SAMPLES / "guest-arm64.elf"]


def test_processes_make_what_one_makes(tmp_path: Path, catalogs: dict[str, Path]) -> None:
    told: list[str] = []
    built = build_catalog(BOTH, tmp_path, jobs=2, progress=told.append)
    assert [one.kernel for one in built] == BOTH and len(told) == 2
    for one, before in zip(built, catalogs.values(), strict=True):
        assert one.file is not None and not one.kept
        assert one.file.name == before.name
        new, old = open_catalog(one.file), open_catalog(before)
        assert new.facts == old.facts  # with the checksums of all sections


def test_what_is_there_is_kept(
    tmp_path: Path, catalogs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in catalogs.values():
        shutil.copy(file, tmp_path)
    assert [one.kept for one in build_catalog(BOTH, tmp_path)] == [True, True]
    damaged = tmp_path / catalogs["x86_64"].name
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert [one.kept for one in build_catalog(BOTH, tmp_path)] == [False, True]
    monkeypatch.setattr(build, "__version__", "of another time")
    assert [one.kept for one in build_catalog(BOTH[:1], tmp_path)] == [False]


def test_a_bad_kernel_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no kernel\n" * 50)
    kernels = [tmp_path / "nothing", tmp_path / "text", BOTH[0]]
    built = build_catalog(kernels, tmp_path / "out")
    assert [bool(one) for one in built] == [False, False, True]
    assert "nothing" in (built[0].error or "") and "text" in (built[1].error or "")
    again = build_catalog([built[2].file or ""], tmp_path / "out")
    assert "is a catalogue already" in (again[0].error or "")


def test_an_interrupted_build_leaves_whole_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "pack_known", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_catalog(BOTH, tmp_path)
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / ".guest.parquet.0123abcd.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    monkeypatch.undo()
    assert all(build_catalog(BOTH[:1], tmp_path)) and not left.exists()


class Broken(Executor):
    """Every worker dies."""

    def submit(self, fn: object, /, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        future: Future[object] = Future()
        future.set_exception(RuntimeError("the worker was killed"))
        return future


def test_a_worker_that_dies_is_told_of(tmp_path: Path) -> None:
    (built,) = build_catalog(BOTH[:1], tmp_path, Broken())
    assert "the worker was killed" in (built.error or "") and str(BOTH[0]) in (built.error or "")


def test_a_cluster_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.chdir(SAMPLES)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        client.run(os.chdir, "/")  # a worker is anywhere
        names = [path.name for path in BOTH] + ["nothing"]
        out = os.path.relpath(tmp_path / "out")
        built = build_catalog(names, out, client.get_executor())
    assert [bool(one) for one in built] == [True, True, False], [str(one) for one in built]
    for one, arch in zip(built, ("x86_64", "arm64"), strict=False):
        assert open_known(one.file or "").arch == arch


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one kernel"):
        build_catalog([], tmp_path)
    with pytest.raises(UsageError, match="no positive number"):
        build_catalog(BOTH, tmp_path, jobs=0)
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="no directory"):
        build_catalog(BOTH, tmp_path / "file")
