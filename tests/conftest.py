"""Fixtures that every test shares: both architectures, both ways of stepping, a fresh guest."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from makers.boots import Boots
from makers.module_archive import module_archive

from kprobesim import CalledKernel, Kernel
from kprobesim.fetch.cache import FetchError, cached, cached_busybox
from kprobesim.fetch.kernels import Fetcher
from kprobesim.image import load_image

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
os.environ["KPROBESIM_CACHE"] = "off"  # but for real kernels: see below
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # Dozens of processes would compile all of the package: they may, once, and beside the tree.
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(ROOT / ".cache" / "bytecode")
    sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: "test_blocks_run_as_printed" not in item.nodeid)


@pytest.fixture(scope="module", autouse=True)
def kept_by_others() -> None:
    """What other modules' tests have left is kept by caches: no search for garbage walks it again.

    At a module's start, since what its last test has used is still held when it ends.
    """
    gc.collect()
    gc.freeze()


def _shared_folder(config: pytest.Config) -> Path:
    """A folder of this run, for all its processes."""
    own: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return own.parent if hasattr(config, "workerinput") else own


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let what was unpacked and booted of real kernels serve all tests of this run.

    Nothing is kept of other images: whether one test ran says nothing to another. No fixture does
    this, as those of a module or of the whole session come before those of a test.
    """
    real = item.get_closest_marker("real_kernel")
    folder = _shared_folder(item.config) / "images"
    os.environ["KPROBESIM_CACHE"] = str(folder) if real else "off"


@pytest.fixture(params=["x86_64", "arm64"])
def arch(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture(params=["breakpoint", "trap"])
def stepping(request: pytest.FixtureRequest) -> str:
    """Each way of stepping in turn."""
    return str(request.param)


@pytest.fixture
def sample(arch: str) -> Path:
    """The sample guest's ELF file."""
    return SAMPLES / f"guest-{arch}.elf"


@pytest.fixture
def guest(sample: Path) -> CalledKernel:
    """A fresh sample guest."""
    return Kernel.load(sample)


@pytest.fixture
def with_breakpoints(sample: Path) -> CalledKernel:
    """A fresh sample guest whose probes are in its memory, with slots and jumps."""
    return Kernel.load(sample, arming="breakpoint")


@pytest.fixture(params=["breakpoint", "trap", "hook"])
def stepped(sample: Path, request: pytest.FixtureRequest) -> CalledKernel:
    """A fresh sample guest for each way of stepping, and one whose probes are hooks."""
    if request.param == "hook":
        return Kernel.load(sample, arming="hook")
    return Kernel.load(sample, stepping=request.param)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("x86_64", marks=pytest.mark.real_kernel),
        pytest.param("arm64", marks=pytest.mark.real_kernel),
    ],
)
def real_image(request: pytest.FixtureRequest) -> Path:
    """A file with a Debian kernel of each architecture in turn, fetched where it is missing.

    KPROBESIM_KERNEL_X86_64 and KPROBESIM_KERNEL_ARM64 name other kernels. Without a kernel the
    tests are skipped, but where CI is set that is an error.
    """
    return _real_image(str(request.param))


@pytest.fixture(scope="session", params=[pytest.param("arm64", marks=pytest.mark.real_kernel)])
def real_arm64_image(request: pytest.FixtureRequest) -> Path:
    """The ARM64 one."""
    return _real_image(str(request.param))


@pytest.fixture(scope="session")
def real_images() -> dict[str, Path]:
    """A file with a Debian kernel of each architecture, by architecture."""
    return {arch: _real_image(arch) for arch in ("x86_64", "arm64")}


@pytest.fixture(scope="session")
def any_real_image() -> Path:
    """One of them, for tests that have kernels of their own choice, too."""
    return _real_image("x86_64")


@pytest.fixture(scope="session")
def shell_initrd(real_image: Path) -> bytes:
    """An initial file system with a BusyBox shell for ``real_image``, and some of its modules."""
    from shell_example import shell_initrd

    image = load_image(real_image)
    arch = image.arch
    busybox = cached_busybox(arch) or _fetched(
        f"BusyBox for {arch}", lambda: Fetcher(arch).busybox()
    )
    return shell_initrd(busybox.read_bytes()) + module_archive(image)


def _real_image(arch: str) -> Path:
    chosen = os.environ.get(f"KPROBESIM_KERNEL_{arch.upper()}")
    if chosen:
        return Path(chosen)
    return cached(arch) or _fetched(f"real {arch} kernel", lambda: Fetcher(arch).fetch().image)


def _fetched(what: str, fetch: Callable[[], Path]) -> Path:
    """What ``fetch`` brings; the test is skipped, or in CI fails, if it cannot."""
    try:
        return fetch()
    except (FetchError, OSError) as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            raise
        pytest.skip(f"no {what}: {error}")


@pytest.fixture(scope="session")
def boots(pytestconfig: pytest.Config) -> Boots:
    """Boots of real kernels, each done once a run of the tests."""
    folder = _shared_folder(pytestconfig) / "boots"
    folder.mkdir(exist_ok=True)
    return Boots(folder)


@pytest.fixture(scope="session")
def real_kernel(real_image: Path) -> CalledKernel:
    """A real kernel of each architecture, with breakpoints and jumps.

    Whoever changes it puts it back as it was.
    """
    return Kernel.load(real_image, arming="breakpoint")


@pytest.fixture(scope="session")
def stepped_kernels(real_image: Path) -> Callable[[str], CalledKernel]:
    """Real kernels by way of stepping, one each; to be left as they were, too."""
    return functools.lru_cache(maxsize=2)(
        lambda stepping: Kernel.load(real_image, stepping=stepping)
    )
