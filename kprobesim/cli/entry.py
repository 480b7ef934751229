"""The way in from the shell: Ctrl-C ends it quietly from here on, also while more is imported.

Nothing is imported at the top that takes time. Ctrl-C that comes earlier is the interpreter's.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> int:
    """Run the process's command; its exit code."""
    try:
        from kprobesim.cli.main import main as run

        code = run()
        sys.stderr.flush()
    except KeyboardInterrupt:  # in an import, or while the first one is told
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("kprobesim: interrupted\n")
        return _INTERRUPTED
    if code == _INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who is impatient need not see how it ends
    return code
