"""Stored scores: what comes back, and files that are damaged or made to do harm."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.errors import DatasetError, ImageError
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred, label_photo
from deconvnet_cli.segmentation.stored_scores import read_scores, restore, write_scores
from deconvnet_cli.weights.shipped import weights_sha256

SIZE = (30, 20)
SETTINGS = {
    "FCN-8s": {"file": "f.safetensors"},
    "ensemble": {"rule": "product", "share": 0.25},
    "settings": {"proposals": 4, "boxes": {"structured_model": Path("model.yml")}},
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    values = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


def scored(photo: Path, maps: ScoreMaps | None = None) -> Inferred:
    torch.manual_seed(0)
    if maps is None:
        maps = ScoreMaps(torch.randn(21, *SIZE[::-1]), torch.randn(21, *SIZE[::-1]), raw=True)
    with Image.open(photo) as image:
        return Inferred(image.convert("RGB"), maps, 4, {})


@pytest.fixture
def stored(photo: Path) -> Path:
    path = photo.with_suffix(".npz")
    write_scores(path, scored(photo), photo, SIZE, SETTINGS)
    return path


def test_round_trip(photo: Path, stored: Path) -> None:
    found = read_scores(stored)
    before = scored(photo).maps
    for name in ("deconvnet", "fcn"):
        values, expected = getattr(found.maps, name), getattr(before, name)
        assert values.dtype == torch.float32
        # Half precision has 11 bits.
        torch.testing.assert_close(values, expected, rtol=2**-11, atol=1e-7)
        assert torch.equal(values, expected.half().float())
    assert found.maps.raw
    assert (found.size, found.proposals) == (SIZE, 4)
    assert found.photo == photo.resolve() and found.sha256 == weights_sha256(photo)
    assert found.settings["FCN-8s"] == {"file": "f.safetensors"}
    assert found.settings["settings"]["boxes"]["structured_model"] == "model.yml"
    again = restore(found)
    assert np.array_equal(np.asarray(again.photo), np.asarray(scored(photo).photo))
    assert (again.proposals, again.maps) == (4, found.maps)


@pytest.mark.parametrize("name", ["deconvnet", "fcn"])
def test_one_map_alone(photo: Path, name: str) -> None:
    values = torch.rand(21, *SIZE[::-1]).clamp(min=0.01)  # lower ones may be stored as 0
    maps = ScoreMaps(**{"deconvnet": None, "fcn": None, "raw": False, name: values})
    path = photo.with_suffix(".npz")
    write_scores(path, scored(photo, maps), photo, SIZE, {})
    found = read_scores(path).maps
    other = "fcn" if name == "deconvnet" else "deconvnet"
    assert getattr(found, other) is None and not found.raw
    assert torch.equal(getattr(found, name), values.half().float())


def test_labels_of_well_separated_scores_are_the_same(photo: Path) -> None:
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 21, SIZE[::-1]))
    maps = torch.nn.functional.one_hot(labels, 21).permute(2, 0, 1) * 2.0
    maps = maps + torch.rand(21, *SIZE[::-1])
    before = scored(photo, ScoreMaps(maps, maps.flip(0) * 0.1, raw=True))
    path = photo.with_suffix(".npz")
    write_scores(path, before, photo, SIZE, {})
    again = restore(read_scores(path))
    for ensemble in (Ensemble(), Ensemble("mean", 0.1)):
        one, other = (label_photo(each, SIZE, ensemble, None) for each in (before, again))
        assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(again.maps.deconvnet.argmax(0), labels)


def test_what_is_too_large_for_half_precision_is_its_largest(photo: Path) -> None:
    values = torch.zeros(2, *SIZE[::-1])
    values[0, 0, 0], values[0, 0, 1], values[1, 0, 2] = 1e6, -1e9, 70000
    path = photo.with_suffix(".npz")
    write_scores(path, scored(photo, ScoreMaps(values, None, raw=True)), photo, SIZE, {})
    found = read_scores(path).maps.deconvnet
    assert found is not None
    assert found[0, 0, :2].tolist() == [65504, -65504] and found[1, 0, 2] == 65504


@pytest.mark.parametrize("size", [(1024, 15), (210, 3), (523, 7)])
def test_a_large_photo_comes_back_at_the_size_of_its_scores(tmp_path, size):
    photo = tmp_path / "wide.png"
    Image.linear_gradient("L").rotate(90).resize((2100, 30)).convert("RGB").save(photo)
    work = Image.new("RGB", size)
    maps = ScoreMaps(torch.rand(3, *size[::-1]), None, raw=False)
    path = tmp_path / "wide.npz"
    write_scores(path, Inferred(work, maps, 1, {}), photo, (2100, 30), {})
    found = read_scores(path)
    again = restore(found)
    assert again.photo.size == size
    assert np.asarray(again.photo).std() > 10, "the photo itself, scaled"
    labels = label_photo(again, found.size, Ensemble(), None).labels
    assert labels.shape == (30, 2100)


def test_the_ensemble_is_that_of_the_run_unless_told_otherwise(stored: Path, photo: Path) -> None:
    found = read_scores(stored)
    assert found.ensemble(None, None) == Ensemble("product", 0.25)
    assert found.ensemble("mean", None) == Ensemble("mean", 0.25)
    assert found.ensemble(None, 0.0) == Ensemble("product", 0.0)
    write_scores(stored, scored(photo), photo, SIZE, {})  # as of a run of one net
    assert read_scores(stored).ensemble(None, None) == Ensemble("mean", 0.5)


def test_another_photo(stored: Path, photo: Path, tmp_path: Path) -> None:
    found = read_scores(stored)
    moved = tmp_path / "moved.png"
    photo.rename(moved)
    with pytest.raises(ImageError, match=r"photo\.png: no such file"):
        restore(found)
    assert restore(found, moved).photo.size == SIZE
    Image.new("RGB", SIZE).save(moved)
    with pytest.raises(ImageError, match=r"moved\.png: not the photo of these stored scores"):
        restore(found, moved)


def unpacked(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def packed(path: Path, **changes: Any) -> Path:
    """The same file with other arrays; None leaves one out."""
    arrays = {**unpacked(path), **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def with_about(path: Path, **changes: Any) -> Path:
    about = json.loads(str(unpacked(path)["about"]))
    return packed(path, about=np.array(json.dumps({**about, **changes})))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    """Bytes in the middle of the packed scores are wrong."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(255 - value for value in data[middle : middle + 40])
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    """Every member says that it is encrypted."""
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + at] |= 1
            place = data.find(mark, place + 1)
    path.write_bytes(data)


MAP = np.zeros((21, 20, 30), np.float16)
DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": cut, "flipped": flipped, "encrypted": encrypted,
    "text": lambda path: path.write_text("scores"), "empty": lambda path: path.write_bytes(b""),
    "no maps": lambda path: packed(path, deconvnet=None, fcn=None),
    "another map": lambda path: packed(path, extra=MAP),
    "maps that do not fit": lambda path: packed(path, fcn=MAP[:, :-1]),
    "flat": lambda path: packed(path, fcn=None, deconvnet=MAP[0]),
    "without pixels": lambda path: packed(path, fcn=None, deconvnet=MAP[:, :0]),
    "another type": lambda path: packed(path, fcn=None, deconvnet=MAP.astype(np.float64)),
    "words": lambda path: packed(path, fcn=None, deconvnet=np.full((2, 2, 2), "a")),
    "dates": lambda path: packed(path, fcn=None, deconvnet=np.zeros((2, 2, 2), "M8[s]")),
    "nan": lambda path: packed(path, deconvnet=MAP * np.float16("nan")),
    "300 classes": lambda path: packed(path, fcn=None, deconvnet=np.zeros((300, 20, 30), "f2")),
    "no about": lambda path: packed(path, about=None),
    "about in pieces": lambda path: packed(path, about=np.array("{")),
    "about a list": lambda path: packed(path, about=np.array("[]")),
    "about too deep": lambda path: packed(path, about=np.array("[" * 100_000)),
    "another format": lambda path: with_about(path, format="deconvnet scores 9"),
    "photo a number": lambda path: with_about(path, photo=3),
    "width a word": lambda path: with_about(path, width="wide"),
    "width without end": lambda path: with_about(path, width=float("inf")),
    "settings a word": lambda path: with_about(path, settings="many"),
    "ensemble a word": lambda path: with_about(path, settings={"ensemble": "mean"}),
    "unknown rule": lambda path: with_about(path, settings={"ensemble": {"rule": "sum"}}),
    "share a word": lambda path: with_about(path, settings={"ensemble": {"share": "half"}}),
}  # fmt: skip


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_no_code_in_a_file_is_run(stored: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    arrays = unpacked(stored)
    for name in ("fcn", "about"):
        with open(stored, "wb") as file:
            np.savez(file, **{**arrays, name: np.array([Evil(mark)], dtype=object)})
        with pytest.raises(DatasetError, match="damaged scores"):
            read_scores(stored)
    assert not mark.exists()


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_and_hostile_files(stored: Path, kind: str) -> None:
    DAMAGE[kind](stored)
    with pytest.raises(DatasetError) as caught:
        read_scores(stored)
    message = str(caught.value)
    assert "\n" not in message
    if kind in ("text", "empty"):  # no archive at all
        assert message.startswith(f"{stored}: not a file of stored scores; ")
    else:
        assert message.startswith(f"{stored}: damaged scores (") and "make them again" in message


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.npz: no stored scores; `deconvnet batch"):
        read_scores(tmp_path / "none.npz")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no device that never ends")
def test_a_photo_without_end(stored: Path, tmp_path: Path) -> None:
    for path in ("/dev/zero", str(tmp_path)):
        found = read_scores(with_about(stored, photo=path))
        with pytest.raises(ImageError, match=rf"{path}: .*(not a file|a folder)"):
            restore(found)


@pytest.mark.parametrize("change", [{"width": 31}, {"height": 10**9}, {"width": -30}])
def test_a_size_that_is_not_the_photos(stored: Path, change: dict[str, int]) -> None:
    found = read_scores(with_about(stored, **change))
    with pytest.raises(DatasetError, match=r"photo\.png: its stored scores are of another size"):
        restore(found)


def test_maps_of_another_shape_than_the_photo(stored: Path) -> None:
    found = read_scores(packed(stored, fcn=None, deconvnet=np.zeros((21, 25, 30), np.float16)))
    with pytest.raises(DatasetError, match="of another size"):
        restore(found)


def test_a_file_appears_whole_or_not_at_all(photo: Path, tmp_path: Path) -> None:
    from deconvnet_cli.errors import OutputError

    with pytest.raises(OutputError):
        write_scores(tmp_path / "none" / "a.npz", scored(photo), photo, SIZE, {})
    path = tmp_path / "a.npz"
    write_scores(path, scored(photo), photo, SIZE, {})
    assert zipfile.ZipFile(io.BytesIO(path.read_bytes())).testzip() is None
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "photo.png"]
