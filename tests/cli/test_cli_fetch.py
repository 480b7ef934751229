"""The script that fetches kernels, against an archive that a few shell lines play."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fetch_kernels
import pytest

pytestmark = pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg on this machine")

_PACKAGES = {
    "linux-image-6.1.0-9-cloud-amd64-unsigned": "6.1.27-1",
    "linux-image-6.1.0-56-cloud-amd64-unsigned": "6.1.192-2",
    "linux-image-6.1.0-56-cloud-amd64": "6.1.192-2",
    "linux-image-6.1.0-56-cloud-amd64-dbg": "6.1.192-2",
    "linux-image-6.12.117+deb12-cloud-amd64-unsigned": "6.12.117-1~deb12u1",
    "linux-binary-6.19.14+deb13-cloud-amd64": "6.19.14-1~bpo13+1",
    "linux-headers-7.9.9-cloud-amd64": "7.9.9-1",
    "busybox-static": "1:1.35.0-4+deb12u1",
}
_NEWEST = "linux-image-6.1.0-56-cloud-amd64-unsigned_6.1.192-2_amd64.deb"

_APT_CACHE = """#!/bin/sh
for word; do
  case $word in
    search) cat "$ARCHIVE/names"; exit ;;
    linux-image-cloud-amd64) echo "Package: $word"; echo "Version: 6.1.192-2"
      echo "Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)"; exit ;;
    linux-*|busybox-*) test -f "$ARCHIVE/$word" && { cat "$ARCHIVE/$word"; echo; } ;;
  esac
done
"""
_DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/bin" && cp "$2" "$3/usr/bin/busybox"
"""
_APT_GET = """#!/bin/sh
for word; do
  case $word in
    update) eval "$ON_UPDATE" ;;
    linux-*=*|busybox-*=*)
      echo "$word" >> "$ARCHIVE/downloads"
      echo content > "${word%%=*}_${word#*=}_amd64.deb"
      eval "$ON_DOWNLOAD" ;;
  esac
done
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose ``downloads`` lists what was downloaded; APT's tools are replaced."""
    root = tmp_path / "archive"
    root.mkdir()
    tools = {"apt-cache": _APT_CACHE, "apt-get": _APT_GET, "dpkg-deb": _DPKG_DEB}
    for tool, text in tools.items():
        (root / tool).write_text(text)
        (root / tool).chmod(0o755)
    (root / "names").write_text("".join(f"{name} - Linux\n" for name in _PACKAGES))
    for name, version in _PACKAGES.items():
        (root / name).write_text(f"Package: {name}\nSource: linux\nVersion: {version}\nSize: 8\n")
    monkeypatch.setenv("ARCHIVE", str(root))
    monkeypatch.setenv("PATH", str(root), prepend=":")
    monkeypatch.setenv("KPROBESIM_KERNELS", str(tmp_path / "kernels"))
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = fetch_kernels.main(["--arch", "x86_64", *arguments])
    return status, *capsys.readouterr()


def test_newest_of_the_default_line(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--json")
    assert status == 0
    [fetched] = json.loads(out)
    assert Path(fetched["image"]).name == _NEWEST
    assert fetched["release"] == "6.1.0-56-cloud-amd64"
    assert Path(fetched["image"]).read_text() == "content\n"
    assert fetch_kernels.cached("x86_64") == Path(fetched["image"])
    assert fetch_kernels.cached("arm64") is None


@pytest.mark.parametrize(
    ("series", "package"),
    [
        ("6.12", "linux-image-6.12.117+deb12-cloud-amd64-unsigned_6.12.117-1~deb12u1_amd64.deb"),
        ("6.19", "linux-binary-6.19.14+deb13-cloud-amd64_6.19.14-1~bpo13+1_amd64.deb"),
    ],
)
def test_another_line(
    archive: Path, capsys: pytest.CaptureFixture[str], series: str, package: str
) -> None:
    status, out, _ = run(capsys, "--series", series)
    assert (status, Path(out.splitlines()[0]).name) == (0, package)


def test_nothing_is_downloaded_twice(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[:2] == run(capsys)[:2]
    assert len((archive / "downloads").read_text().splitlines()) == 2  # a kernel, a BusyBox


def test_missing_only(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Path(run(capsys, "--missing")[1].splitlines()[0]).name == _NEWEST
    assert run(capsys, "--missing") == (0, "", "")


def test_busybox_is_taken_out_of_its_package(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch_kernels.cached_busybox("x86_64") is None
    _, out, _ = run(capsys, "--json")
    busybox = Path(json.loads(out)[0]["busybox"])
    assert busybox.name == "busybox_1%3a1.35.0-4+deb12u1_amd64"
    assert busybox.read_text() == "content\n"
    assert fetch_kernels.cached_busybox("x86_64") == busybox
    assert fetch_kernels.fetch_busybox("x86_64") == busybox
    busybox.unlink()
    assert run(capsys, "--missing")[:1] == (0,)
    assert busybox.is_file()


def test_partial_download_does_not_count(
    archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ON_DOWNLOAD", "echo 'E: Hash Sum mismatch' >&2; exit 100")
    status, out, err = run(capsys)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].endswith("Hash Sum mismatch")
    assert fetch_kernels.cached("x86_64") is None
    monkeypatch.delenv("ON_DOWNLOAD")
    assert run(capsys)[0] == 0


def test_hanging_archive(
    archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_kernels, "_LISTS_SECONDS", 0.3)
    monkeypatch.setenv("ON_UPDATE", "exec sleep 30")
    status, _, err = run(capsys)
    assert status == 1
    assert "apt-get" in err and "took more than" in err


@pytest.mark.parametrize("names", ["", "linux-headers-6.1.0-56-cloud-amd64 - headers\n"])
def test_archive_without_kernels(
    archive: Path, capsys: pytest.CaptureFixture[str], names: str
) -> None:
    (archive / "names").write_text(names)
    status, _, err = run(capsys)
    assert status == 1
    assert "no cloud kernel for amd64" in err


def test_unknown_line_names_those_that_exist(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "--series", "5.99")
    assert status == 1
    assert "6.1, 6.12, 6.19" in err


def test_machine_without_apt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = run(capsys)
    assert status == 1
    assert err == "fetch_kernels: apt-get is missing: the kernels are fetched with Debian's tools\n"
