"""``python -m kprobesim``."""

from __future__ import annotations

import sys

from kprobesim.cli.entry import main

sys.exit(main())
