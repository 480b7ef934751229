"""``python -m kprobesim``."""

from __future__ import annotations

import sys

from kprobesim.cli.main import main

sys.exit(main())
