"""Where the files of the repository lie, for tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "deconvnet_cli"
DOCS = ROOT / "docs"
TESTS = ROOT / "tests"
DATA = TESTS / "data"
