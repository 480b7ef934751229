"""``kprobesim fetch``, against an archive that a few shell lines play."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kprobesim.cli.main import main
from kprobesim.fetch import apt
from kprobesim.fetch.cache import cached, cached_busybox
from kprobesim.fetch.kernels import Fetcher

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
    monkeypatch.chdir(tmp_path)
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["fetch", "--arch", "x86_64", *arguments])
    return status, *capsys.readouterr()


def test_newest_of_the_default_line(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--json")
    assert status == 0
    [fetched] = json.loads(out)
    assert Path(fetched["image"]).name == _NEWEST
    assert fetched["release"] == "6.1.0-56-cloud-amd64"
    assert Path(fetched["image"]).read_text() == "content\n"
    assert cached("x86_64") == Path(fetched["image"])
    assert cached("arm64") is None


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
    assert status == 0
    place, target = out.splitlines()[0].split()
    assert (place, Path(target).name) == (f"amd64-{series}.deb", package)
    assert Path(place).resolve() == Path(target)


def test_nothing_is_downloaded_twice(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[:2] == run(capsys)[:2]
    assert len((archive / "downloads").read_text().splitlines()) == 2  # a kernel, a BusyBox


def test_missing_only(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, "--missing")
    assert Path(first[1].split()[1]).name == _NEWEST
    Path("amd64.deb").unlink()
    (archive / "names").write_text("")  # nobody looks at it
    assert run(capsys, "--missing") == (0, first[1], "")
    assert Path("amd64.deb").is_file()


def test_busybox_is_taken_out_of_its_package(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cached_busybox("x86_64") is None
    _, out, _ = run(capsys, "--json")
    busybox = Path(json.loads(out)[0]["busybox"])
    assert busybox.name == "busybox_1%3a1.35.0-4+deb12u1_amd64"
    assert busybox.read_text() == "content\n"
    assert cached_busybox("x86_64") == busybox
    assert Fetcher("x86_64").busybox() == busybox
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
    assert cached("x86_64") is None
    monkeypatch.delenv("ON_DOWNLOAD")
    assert run(capsys)[0] == 0


def test_hanging_archive(
    archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "_LISTS_SECONDS", 0.3)
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
    assert err.startswith("kprobesim: apt-get is missing: kernels are fetched with Debian's own")
    assert "the vmlinux of a kernel that you have built" in err


def test_lines_that_there_are(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["6.1", "6.12", "6.19"]
    _, out, _ = run(capsys, "--list", "--json")
    assert json.loads(out)[0] == {
        "arch": "x86_64",
        "series": "6.1",
        "release": "6.1.0-56-cloud-amd64",
        "package": "linux-image-6.1.0-56-cloud-amd64-unsigned",
        "version": "6.1.192-2",
    }
    assert not Path("amd64.deb").exists()


def test_links_replace_links_and_nothing_else(
    archive: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("amd64.deb").symlink_to("nowhere")
    assert run(capsys)[0] == 0
    assert Path("amd64.deb").resolve().name == _NEWEST
    there = tmp_path / "kernels"
    assert run(capsys, "--to", str(there))[0] == 0
    assert (there / "amd64.deb").readlink() == Path(_NEWEST)  # may be moved with its folder
    Path("amd64.deb").unlink()
    Path("amd64.deb").write_text("mine")
    status, out, err = run(capsys)
    assert (status, out) == (1, "")
    assert "amd64.deb is there and is no link of ours" in err
    assert Path("amd64.deb").read_text() == "mine"


def test_a_download_tells_how_far_it_is(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = r"""fd=$(echo "$*" | sed 's/.*Status-Fd=\([0-9]*\).*/\1/')
      echo dlstatus:1:42.5:Retrieving > /proc/self/fd/$fd"""
    monkeypatch.setenv("ON_DOWNLOAD", tell)
    heard: list[float] = []
    Fetcher("x86_64", tmp_path / "kernels", percent=heard.append).fetch()
    assert heard == [42.5, 42.5]  # a kernel, a BusyBox


@pytest.mark.parametrize("series", ["6", "6.1.2", "x"])
def test_a_line_is_two_numbers(series: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "--series", series)
    assert status == 2
    assert "no two numbers, such as 6.12" in err
