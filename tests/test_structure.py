"""What stands on what: commands on the library and never the other way, and no module too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "deconvnet_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
COMMAND_LINE = ("cli.py", "manual.py", "__main__.py")  # besides commands/
# Settings beside what chooses who computes; and two that name each other's types.
CIRCLES = ("crf", "crf_torch", "crf_pydensecrf", "segmenter", "systems")


def imports(file: Path) -> Iterator[str]:
    """Modules that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def library() -> list[Path]:
    """All modules but those of the command line."""
    commands = PACKAGE / "commands"
    return [
        file for file in MODULES if commands not in file.parents and file.name not in COMMAND_LINE
    ]


def test_no_module_is_too_long():
    long = [file.name for file in MODULES if len(file.read_text().splitlines()) > 300]
    assert not long


def test_the_library_does_not_stand_on_commands():
    used = {
        file.name
        for file in library()
        for name in imports(file)
        if name == "click" or name.startswith("deconvnet_cli.commands")
    }
    assert not used


def test_rich_is_for_what_people_read():
    used = {file.name for file in MODULES for name in imports(file) if name.split(".")[0] == "rich"}
    assert used <= {"report.py", "report_scores.py"}


def test_opencv_comes_from_where_its_errors_are_explained():
    used = {file.name for file in MODULES if "cv2" in set(imports(file))}
    assert used == {"opencv.py"}


def test_modules_import_each_other_in_no_circle_but_known_ones():
    names = {
        ".".join(("deconvnet_cli", *file.relative_to(PACKAGE).with_suffix("").parts)): file
        for file in MODULES
        if file.name != "__init__.py"
    }
    below = {
        name: {other for other in imports(file) if other in names and other != name}
        for name, file in names.items()
    }

    def reached(name: str) -> set[str]:
        found: set[str] = set()
        open_ends = [name]
        while open_ends:
            further = below[open_ends.pop()] - found
            found |= further
            open_ends += further
        return found

    circles = {name.removeprefix("deconvnet_cli.") for name in names if name in reached(name)}
    assert circles <= set(CIRCLES)
