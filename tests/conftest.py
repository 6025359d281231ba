"""Lets the shared modules of the tests be imported by name; an example may take as long as compiling takes."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("compiles", deadline=None)
settings.load_profile("compiles")
