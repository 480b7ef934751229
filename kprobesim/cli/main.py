"""The entry point: options, errors and exit codes.

0: done; 1: it failed (a guest fault, a refused probe, an unknown symbol, an unusable image); 2: the
command line makes no sense; 130: Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Any, NoReturn

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, styled
from kprobesim.errors import KprobesimError, ScheduleError, UsageError
from kprobesim.machine.faults import GuestStop
from kprobesim.version import __version__

__all__ = ["main"]

_FAILURE, _WRONG_USE, _INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Wrong options become our error instead of a usage text and an exit.

    The options of a command may stand before, between and behind its arguments.
    """

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class; for a command, intermixed."""
        if self._mixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` is by default the process's own."""
    _never_fail_to_encode()
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (head, less) has seen enough. The interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _FAILURE
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    except (UsageError, ScheduleError) as error:
        _complain(str(error))
        return _WRONG_USE
    except GuestStop as error:
        _complain(error.oops())
        return _FAILURE
    except KprobesimError as error:
        _complain(str(error))
        return _FAILURE
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return _FAILURE


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    # A command imports what it needs, an emulator or not: only the one that is asked for.
    asked = next((word for word in words if not word.startswith("-")), "")
    parser = _make_parser([asked])
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # --help and --version have printed their text
        return int(stop.code or 0)
    if args.command is None:
        parser.print_help()
        return 0
    if args.verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    code: int = args.run(args)
    return code


def _make_parser(known: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of all commands, and of the options of those that are ``known``."""
    parser = _Parser(
        prog="kprobesim",
        description="Run functions of a real Linux kernel image, and probe them.",
        epilog="kprobesim COMMAND --help tells more of each command, with examples. A first look:\n"
        "kprobesim demo. Real kernels to try it on: kprobesim fetch.",
    )
    parser.add_argument("--version", action="version", version=f"kprobesim {__version__}")
    parser.add_argument(
        "--verbose", action="store_true", help="log what is loaded, run and kept, before COMMAND"
    )
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", parser_class=_Parser
    )
    for name, purpose in COMMANDS.items():
        if name in known:
            import_module(f"kprobesim.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=purpose)
    return parser


def _complain(message: str) -> None:
    error_console().print(styled(("kprobesim: ", "bold red"), message))


def _never_fail_to_encode() -> None:
    """A terminal that cannot show a character gets an escape instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
