"""The structure of the package: who may import whom, in no circle, and no module too long."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from helpers.paths import DOCS, PACKAGE

MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300
MOST_AT_THE_TOP = 8
BELOW_SEGMENTATION = ("choices", "data", "errors", "nets", "runtime", "storage", "weights")
BELOW_COMMANDS = (*BELOW_SEGMENTATION, "outputs", "reporting", "segmentation")
# What each package may import of the others. The same table stands in docs/architecture.md.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "choices": (),
    "storage": ("errors",),
    "runtime": ("choices", "errors", "storage"),
    "nets": ("choices", "errors"),
    "data": ("choices", "errors", "nets", "runtime", "storage"),
    "weights": ("choices", "data", "errors", "nets", "storage"),
    "segmentation": BELOW_SEGMENTATION,
    "outputs": (*BELOW_SEGMENTATION, "segmentation"),
    "reporting": (*BELOW_SEGMENTATION, "outputs", "segmentation"),
    "exporting": BELOW_SEGMENTATION,
    "evaluation": BELOW_COMMANDS,
    "training": (*BELOW_COMMANDS, "evaluation"),
    "explain": BELOW_COMMANDS,
    "datasets": BELOW_COMMANDS,
    "batch": BELOW_COMMANDS,
    "serve": BELOW_COMMANDS,
    "diagnostics": (*BELOW_COMMANDS, "evaluation"),
    "api": BELOW_COMMANDS,
    "commands": (
        *BELOW_COMMANDS,
        "batch", "datasets", "diagnostics", "evaluation", "explain", "exporting", "serve",
        "training",
    ),
    "cli": ("commands", "errors", "runtime"),
    "__main__": ("cli",),
    "__init__": ("api",),
}  # fmt: skip


def name_of(file: Path) -> str:
    """Return the dotted name of a module; a package is its ``__init__``."""
    return ".".join(("deconvnet_cli", *file.relative_to(PACKAGE).with_suffix("").parts))


def room_of(name: str) -> str:
    """Return the package, or the module at the top, that a dotted name lies in."""
    return (*name.split("."), "__init__")[1]


@cache
def imports(file: Path) -> frozenset[str]:
    """The modules that a file imports, inside functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


NAMES = {name_of(file): file for file in MODULES}


@cache
def imported() -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports."""
    return {name: set(imports(file) & NAMES.keys()) for name, file in NAMES.items()}


@pytest.mark.parametrize("room", ALLOWED)
def test_each_room_imports_what_the_table_allows(room):
    used = {
        room_of(other)
        for name, found in imported().items()
        for other in found
        if room_of(name) == room
    }
    assert used - {room} <= set(ALLOWED[room])


def test_the_table_has_every_room():
    assert {room_of(name) for name in NAMES} == set(ALLOWED)


def test_the_architecture_page_has_the_same_table():
    page = (DOCS / "architecture.md").read_text()
    for room, below in ALLOWED.items():
        if not room.startswith("__"):
            (row,) = [line for line in page.splitlines() if line.startswith(f"| `{room}` |")]
            named = row.split("|")[2].replace("`", "").replace(",", " ").split()
            assert sorted(named) == sorted(below) or (named, below) == (["nothing"], ())


def test_no_module_imports_itself_by_any_way():
    def reached(name: str) -> set[str]:
        found: set[str] = set()
        open_ends = [name]
        while open_ends:
            further = imported()[open_ends.pop()] - found
            found |= further
            open_ends += further
        return found

    assert not [name for name in NAMES if name in reached(name)]


def test_no_module_is_too_long():
    long = [file.name for file in MODULES if len(file.read_text().splitlines()) > MOST_LINES]
    assert not long


def test_few_modules_lie_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) < MOST_AT_THE_TOP


def test_packages_are_imported_quickly():
    """An ``__init__`` is a docstring alone, or ``--help`` gets slow; one loads lazily."""
    for name, file in NAMES.items():
        if file.name == "__init__.py" and name != "deconvnet_cli.__init__":
            (docstring,) = ast.parse(file.read_text()).body
            assert isinstance(docstring, ast.Expr), name


@pytest.mark.parametrize("package, rooms", [
    ("click", {"cli", "commands"}),
    ("rich", {"reporting", "commands"}),
    ("cv2", {"runtime"}),
    ("fastapi", {"serve"}),
    ("ray", {"batch"}),
    ("onnx", {"exporting"}),
    ("onnxruntime", {"exporting"}),
])  # fmt: skip
def test_a_package_is_known_in_one_place(package, rooms):
    used = {
        room_of(name)
        for name, file in NAMES.items()
        for found in imports(file)
        if found.split(".")[0] == package
    }
    assert used <= rooms


def test_the_tests_of_a_module_share_a_process(request):
    """So they share what is dear to make; pytest-xdist writes their group behind their name."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@tests/project/test_structure.py")
