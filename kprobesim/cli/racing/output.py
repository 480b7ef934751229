"""What ``kprobesim race`` writes: what was found, files, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live

from kprobesim.cli.console import Line, error_console, styled
from kprobesim.errors import UsageError

if TYPE_CHECKING:
    from kprobesim.races.exploring.exploration import Exploration

__all__ = ["check_files", "lines", "telling", "write_files"]

_PAGE, _RUN = ".html", ".perfetto-trace"
_EVERY = 0.25  # seconds between two words on how far it is


@contextmanager
def telling() -> Iterator[Callable[[str], None] | None]:
    """Within, who waits at a terminal can be told how far it is, in a line that goes away."""
    if not sys.stderr.isatty():
        yield None
        return
    told = 0.0
    # Without a thread of its own, for which the guest would have to make room.
    with Live(console=error_console(), auto_refresh=False, transient=True) as live:

        def tell(text: str) -> None:
            nonlocal told
            if time.monotonic() - told > _EVERY:
                told = time.monotonic()
                live.update(styled((f"kprobesim: {text}", "dim")), refresh=True)

        yield tell


def check_files(files: Sequence[str]) -> None:
    """See that the files can be written before anything takes time; raises :class:`UsageError`."""
    for name in files:
        path = Path(name)
        if not name.endswith((_PAGE, _RUN)):
            raise UsageError(f"-o {name}: name it something{_PAGE} or something{_RUN}")
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UsageError(f"-o {name}: name a file in a folder that exists")


def write_files(files: Sequence[str], found: Exploration, title: str) -> Iterator[str]:
    """Write them; what there is to say of it. Raises :class:`UsageError` if one cannot be."""
    for name in files:
        if name.endswith(_PAGE):
            from kprobesim.html import page

            try:
                Path(name).write_text(page(title, found._repr_html_()), encoding="utf-8")
            except OSError as error:
                raise UsageError(f"{name} cannot be written: {error.strerror}") from error
        elif found.failure is not None:
            found.failure.save(name)
        else:
            yield f"nothing has failed, so there is no run to write to {name}"


def lines(found: Exploration) -> Iterator[Line]:
    """What was found, for people."""
    for failure in found.failures:
        head, *rest = str(failure).splitlines()
        kind, _, message = head.partition(": ")
        yield (kind, "bold red"), f": {message}"
        for line in rest:
            yield (line,)
    words = f"{len(found.failures) or 'no'} failure{'' if len(found.failures) == 1 else 's'}"
    yield ((f"{words} in {found.tried}", "dim" if found.failures else "green"),)
