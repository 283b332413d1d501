"""Rows counted together, files of counts, and what cannot be added up."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.counts import (
    Counts,
    merged,
    read_tallies,
    tally_to_json,
    write_tallies,
)
from deconvnet_cli.evaluation.intervals import Comparison
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.evaluation.paired import QUESTIONS, Paired, comparisons, paired
from deconvnet_cli.evaluation.scoreboard import EXTREMES, TABLE, Labels, Scoreboard, count
from deconvnet_cli.evaluation.tally import Tally

NAMES = [f"i{number}" for number in range(7)]


def truth_of(name: str) -> Labels:
    truth = np.zeros((12, 16), np.uint8)
    truth[2:9, 3:11] = 1 + int(name[1:]) % 3
    truth[0] = 255
    return truth


def labels_of(name: str, wrong: float) -> Labels:
    """The truth with this share of the pixels another label."""
    rng = np.random.default_rng(int(name[1:]))
    truth = np.where(truth_of(name) == 255, 0, truth_of(name))
    noise = rng.integers(0, 4, truth.shape)
    return np.where(rng.random(truth.shape) < wrong, noise, truth).astype(np.uint8)


def rows_of(name: str) -> dict[str, Labels]:
    """The second row is the better one, more so for later images."""
    return {"first": labels_of(name, 0.6), "second": labels_of(name, 0.4 - int(name[1:]) / 20)}


def board_of(names: list[str]) -> Scoreboard:
    board = Scoreboard()
    for name in names:
        board.add(name, truth_of(name), rows_of(name))
    return board


def same(one: Tally, other: Tally) -> bool:
    return tally_to_json(one) == tally_to_json(other)


def test_each_row_is_counted_for_itself() -> None:
    board = board_of(NAMES)
    assert list(board.tallies) == ["first", "second"]
    for row, tally in board.tallies.items():
        alone = Tally()
        for name in NAMES:
            alone.add(name, truth_of(name), rows_of(name)[row])
        assert same(tally, alone)


@pytest.mark.parametrize(
    ("photos", "best", "worst"), [(1, 1, 0), (2, 1, 1), (5, 3, 2), (8, 4, 4), (12, 4, 4)]
)
def test_of_few_photos_each_is_one_of_the_best_or_the_worst(photos, best, worst) -> None:
    board = Scoreboard()
    for number in range(photos):
        truth = np.ones((1, photos), np.uint8)
        board.add(str(number), truth, {"A": (np.arange(photos)[None] <= number).astype(np.uint8)})
    names = [[image.name for image in some] for some in board.extremes()]
    ranked = [str(number) for number in range(photos)]
    assert names == [ranked[::-1][:best], ranked[:worst]]


def test_best_and_worst_of_the_last_row() -> None:
    board = board_of(NAMES)
    own = {
        name: metrics_of(confusion(truth_of(name), rows_of(name)["second"])).mean_iou
        for name in NAMES
    }
    order = sorted(NAMES, key=lambda name: own[name])
    assert [image.name for image in board.worst] == order[:EXTREMES]
    assert [image.name for image in board.best] == order[::-1][:EXTREMES]
    for image in [*board.best, *board.worst]:
        assert image.iou == own[image.name]
        assert np.array_equal(image.labels, rows_of(image.name)["second"])


def test_an_image_of_void_is_counted_but_not_ranked() -> None:
    board = board_of(NAMES[:2])
    board.add(
        "void",
        np.full((4, 5), 255, np.uint8),
        {"first": None, "second": None}
        | {row: np.zeros((4, 5), np.uint8) for row in ("first", "second")},
    )
    assert board.tallies["first"].images == 3
    assert "void" not in {image.name for image in [*board.best, *board.worst]}


def test_an_image_that_cannot_be_counted_is_named() -> None:
    board = board_of(NAMES[:2])
    with pytest.raises(DatasetError, match="i2: truth and prediction differ in size"):
        board.add("i2", truth_of("i2"), dict.fromkeys(("first", "second"), np.zeros((3, 3), "u1")))
    with pytest.raises(DatasetError, match=r"i2: has the rows first, .* first, second.*--net"):
        board.add("i2", truth_of("i2"), {"first": labels_of("i2", 0)})


def test_a_list_is_counted_from_its_tree(tmp_path: Path) -> None:
    tree = VocTree(tmp_path)
    (tmp_path / "SegmentationClass").mkdir()
    for name in NAMES:
        tree.mask(name).write_bytes(label_png(truth_of(name)))
    seen = {}

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        seen[name] = truth
        return rows_of(name)

    board = count(tree, NAMES, predict)
    assert list(seen) == NAMES
    assert all(np.array_equal(seen[name], truth_of(name)) for name in NAMES)
    expected = board_of(NAMES)
    assert all(same(board.tallies[row], tally) for row, tally in expected.tallies.items())


def test_comparisons_answer_what_can_be_asked() -> None:
    counted = board_of(NAMES).tallies
    tallies = {"DeconvNet": counted["first"], "EDeconvNet": counted["second"]}
    (answer,) = comparisons(tallies)
    assert (answer.first, answer.second) == ("EDeconvNet", "DeconvNet")
    results = {row: counted[row].result() for row in counted}
    ious = {row: result.metrics.mean_iou for row, result in results.items()}
    boundary = {row: result.mean_boundary_iou for row, result in results.items()}
    for by, means in ((answer.iou, ious), (answer.boundary_iou, boundary)):
        assert by.difference == means["second"] - means["first"]
        assert 0 < by.low <= by.difference <= by.high and by.above > 0.9
    assert {name for pair in QUESTIONS for name in pair} <= {row.name for row in TABLE}
    assert comparisons({"predictions": counted["first"]}) == []


def test_difference_of_a_run_with_itself_and_with_other_images() -> None:
    tally = board_of(NAMES).tallies["first"]
    itself = paired("a", tally, "b", tally)
    assert itself == Paired("a", "b", Comparison(0, 0, 0, 0), Comparison(0, 0, 0, 0))
    with pytest.raises(DatasetError, match="not evaluated on the same photos"):
        paired("a", tally, "b", board_of(NAMES[:6]).tallies["first"])


def test_files_bring_back_the_rows_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    tallies = {"z": board_of(NAMES).tallies["first"], "a": board_of(NAMES[:2]).tallies["second"]}
    write_tallies(path, Counts(tallies, CLASSES, {"settings": {"file": Path("x")}}))
    found = read_tallies(path).rows
    assert list(found) == ["z", "a"]
    assert all(same(found[name], tallies[name]) for name in found)
    assert json.loads(path.read_text())["about"] == {"settings": {"file": "x"}}


def test_parts_add_up_to_the_whole() -> None:
    parts = {
        Path(str(number)): board_of(names).tallies
        for number, names in enumerate((NAMES[:3], NAMES[3:4], NAMES[4:]))
    }
    kept = copy.deepcopy(parts)
    whole = board_of(NAMES).tallies
    for order in (list(parts), list(reversed(parts))):
        found = merged({path: parts[path] for path in order})
        assert list(found) == ["first", "second"]
        assert all(same(found[row], whole[row]) for row in whole)
    for path in parts:
        assert all(same(parts[path][row], kept[path][row]) for row in whole)


def test_rows_in_another_order_are_added_by_name() -> None:
    one, other = board_of(NAMES[:3]).tallies, board_of(NAMES[3:]).tallies
    turned = dict(reversed(other.items()))
    found = merged({Path("a"): one, Path("b"): turned})
    assert all(same(found[row], tally) for row, tally in board_of(NAMES).tallies.items())


def test_what_does_not_add_up() -> None:
    one, other = board_of(NAMES[:3]).tallies, board_of(NAMES[3:]).tallies
    with pytest.raises(
        DatasetError, match="b: has the rows first, the first file has first, second"
    ):
        merged({Path("a"): one, Path("b"): {"first": other["first"]}})
    # A copy, and another run over the same images.
    again = {"first": one["second"], "second": one["first"]}
    for twice in (copy.deepcopy(one), again):
        with pytest.raises(DatasetError, match="c: the same photos as in a"):
            merged({Path("a"): one, Path("b"): other, Path("c"): twice})
    nothing = {"first": Tally(), "second": Tally()}  # void everywhere: that may be
    found = merged({Path("a"): nothing, Path("b"): nothing, Path("c"): one})
    assert all(same(found[row], one[row]) for row in one)
    seeded = Tally(seed=1)
    seeded.add("i5", truth_of("i5"), labels_of("i5", 0))
    with pytest.raises(DatasetError, match="b: tallies with seed 0 and 1"):
        merged({Path("a"): one, Path("b"): {"first": seeded, "second": seeded}})


def content(**changes: Any) -> dict[str, Any]:
    tally = Tally(replicates=2)
    tally.add("i0", truth_of("i0"), labels_of("i0", 0.1))
    return {"format": "deconvnet scoreboard 1", "rows": {"a": tally_to_json(tally)}, **changes}


BAD: dict[str, tuple[str, str]] = {
    "text": ("hello", "not readable as JSON"),
    "empty": ("", "not readable as JSON"),
    "deep": ("[" * 100_000, "not readable as JSON"),
    "list": ("[]", "not a file of counts"),
    "null": ("null", "not a file of counts"),
    "no rows": (json.dumps(content(rows={})), "not a file of counts"),
    "rows a list": (json.dumps(content(rows=[1])), "not a file of counts"),
    "another format": (json.dumps(content(format="x")), "not a file of counts"),
    "row a number": (json.dumps(content(rows={"a": 3})), "a: not a tally"),
    "other classes": (json.dumps(content(rows={"a": tally_to_json(Tally(5))})), "5 classes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_are_none_of_ours(tmp_path: Path, kind: str) -> None:
    text, words = BAD[kind]
    path = tmp_path / "counts.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words) as caught:
        read_tallies(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.json", tmp_path / "binary", tmp_path):
        with pytest.raises(DatasetError, match=r"not readable as JSON|cannot be read"):
            read_tallies(path)
    path = tmp_path / "good.json"
    path.write_text(json.dumps(content()))
    assert list(read_tallies(path).rows) == ["a"]
