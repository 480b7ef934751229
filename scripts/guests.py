"""What scripts that compare with guests have in common: which guests, how to ask, how to end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from kprobesim import BootedKernel, KprobesimError
from kprobesim.asking.shell import Shell

SECONDS = 120.0
"""Of this computer's, that a line may take."""


def guests_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of a script for one IMAGE or more: kernels, or snapshots whose shells wait.

    Args:
        description: The script's own description, of which the first line is told.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    return parser


class Guest:
    """One boot of a kernel, whose shell can be asked.

    Attributes:
        kernel: The guest.
        shell: Its shell.
    """

    def __init__(self, kernel: BootedKernel) -> None:
        self.kernel = kernel
        self.shell = Shell(kernel)

    def run(self, line: str) -> tuple[int | None, str]:
        """Let the guest do ``line``: its status, and what it said."""
        status, said = self.shell.run(line, SECONDS)
        return status, said.replace("\r\n", "\n")


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and end with its status, or with an error of ours in a line."""
    try:
        sys.exit(main())
    except (KprobesimError, OSError) as error:
        sys.exit(f"{error}")
