#!/usr/bin/env python3
"""``kprobesim fetch`` for the sources: packages and links lie in .cache/kernels."""

from __future__ import annotations

import sys

from kprobesim.cli.main import main
from kprobesim.fetch.cache import cache_directory

if __name__ == "__main__":
    sys.exit(main(["fetch", "--to", str(cache_directory()), *sys.argv[1:]]))
