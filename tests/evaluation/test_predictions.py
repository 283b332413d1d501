"""Folders of label PNGs with every kind of fault, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import VocTree, palette
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.predictions import Predictions, files_of_names, find_predictions

TRUTH = np.zeros((6, 9), np.uint8)
TRUTH[2:5, 3:7] = 15
TRUTH[1, 3:7] = 255


@pytest.fixture
def tree(tmp_path: Path) -> VocTree:
    """One mask, 9 pixels wide and 6 high, called a."""
    tree = VocTree(tmp_path / "VOC2012")
    tree.mask("a").parent.mkdir(parents=True)
    tree.mask("a").write_bytes(label_png(TRUTH))
    return tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def changed(label: int, where: int) -> NDArray[np.uint8]:
    """The truth with one label put where the truth has another."""
    labels = TRUTH.copy()
    labels[labels == where] = label
    return labels


def only_problem(folder: Path, tree: VocTree) -> str:
    """The one message, checked to be one line that names the file."""
    found = find_predictions(folder, tree, ["a"])
    assert found.missing == [] and len(found.wrong) == 1
    message = found.wrong[0]
    assert message.startswith(f"{folder / 'a.png'}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("void", [255, 0, 15, 21, 100])
@pytest.mark.parametrize("grey", [False, True])
def test_good_ones_pass_with_anything_in_void(folder, tree, void, grey):
    labels = changed(void, where=255)
    if grey:
        Image.fromarray(labels).save(folder / "a.png")
    else:
        (folder / "a.png").write_bytes(label_png(labels))
    found = find_predictions(folder, tree, ["a"])
    assert found == Predictions({"a": folder / "a.png"}, [], [])


def test_all_missing_ones_are_named_and_the_rest_still_checked(folder: Path, tree: VocTree) -> None:
    tree.mask("b").write_bytes(label_png(TRUTH))
    (folder / "b.png").write_bytes(label_png(TRUTH.T.copy()))
    (folder / "c.jpg").write_bytes(b"")
    found = find_predictions(folder, tree, iter(["c", "b", "d"]))
    assert found.missing == ["c", "d"] and list(found.files) == ["b"]
    assert len(found.wrong) == 1 and "b.png" in found.wrong[0]


def test_both_sizes_are_said(folder: Path, tree: VocTree) -> None:
    (folder / "a.png").write_bytes(label_png(TRUTH.T.copy()))
    message = only_problem(folder, tree)
    assert "6x9 pixels" in message and "9x6" in message and "size of the photo" in message


@pytest.mark.parametrize("label", [21, 254, 255])
def test_labels_out_of_range(folder: Path, tree: VocTree, label: int) -> None:
    (folder / "a.png").write_bytes(label_png(changed(label, where=15)))
    message = only_problem(folder, tree)
    assert f"12 pixels have no class but label {label};" in message and "0..20" in message
    assert ("it has 0 and 255 alone" in message) == (label == 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_no_labels(folder: Path, tree: VocTree, mode: str) -> None:
    path = folder / "a.png"
    Image.fromarray(palette()[TRUTH]).convert(mode).save(path)
    message = only_problem(folder, tree)
    assert f"mode {mode}, in VOC's colours;" in message
    assert "save label indices" in message and "not colours" in message
    # A colour of VOC's map, but of a label (21) that is no class.
    Image.fromarray(palette()[changed(21, where=15)]).convert(mode).save(path)
    assert "not all VOC's" in only_problem(folder, tree)


@pytest.mark.parametrize("mode", ["1", "LA", "I;16"])
def test_other_modes(folder: Path, tree: VocTree, mode: str) -> None:
    Image.new(mode, (9, 6), 1 if mode == "1" else 0).save(folder / "a.png")
    assert f"mode {mode}; save label indices" in only_problem(folder, tree)


def test_not_a_whole_png(folder: Path, tree: VocTree) -> None:
    path = folder / "a.png"
    path.write_text("labels")
    assert "not a PNG" in only_problem(folder, tree)
    Image.fromarray(TRUTH).save(path, "JPEG")
    assert "not a PNG" in only_problem(folder, tree)
    whole = label_png(np.random.default_rng(0).integers(0, 20, TRUTH.shape).astype(np.uint8))
    path.write_bytes(whole[: whole.index(b"IDAT") + 20])
    assert "not a readable PNG (damaged" in only_problem(folder, tree)


def test_a_bomb_is_not_unpacked(folder: Path, tree: VocTree) -> None:
    Image.new("L", (20_000, 5_000)).save(folder / "a.png")  # Pillow warns from 89 million on
    assert "20000x5000 pixels" in only_problem(folder, tree)


def test_faults_of_the_tree_are_errors(folder: Path, tree: VocTree) -> None:
    (folder / "z.png").write_bytes(label_png(TRUTH))
    with pytest.raises(DatasetError, match=r"z\.png: no such label PNG"):
        find_predictions(folder, tree, ["z"])
    with pytest.raises(DatasetError, match="no such folder"):
        find_predictions(folder / "elsewhere", tree, ["a"])


def test_files_in_subfolders_are_found_where_the_folder_has_none(tmp_path: Path) -> None:
    for place in ("x/a.png", "x/y/b.png", "x/y/deep/c.png", "x/cc.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    found = files_of_names(tmp_path, ["a", "b", "deep/c", "d"], ".png")
    assert list(found) == ["a", "b", "deep/c", "d"]
    places = [path.relative_to(tmp_path).as_posix() for path in found.values()]
    assert places == ["x/a.png", "x/y/b.png", "x/y/deep/c.png", "d.png"]
    (tmp_path / "z").mkdir()
    (tmp_path / "z/b.png").touch()
    with pytest.raises(DatasetError, match=r"x/y/b\.png and z/b\.png are both of b"):
        files_of_names(tmp_path, ["a", "b"], ".png")
    (tmp_path / "a.png").touch()  # older ones in subfolders are not taken for what is missing
    found = files_of_names(tmp_path, ["a", "b"], ".png")
    assert list(found.values()) == [tmp_path / "a.png", tmp_path / "b.png"]
