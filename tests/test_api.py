"""From Python: the same labels as the command line, photos of many kinds, and the page in docs."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import DOCS
from PIL import Image

import deconvnet_cli
from deconvnet_cli import SegmentationResult, Segmenter
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.photo_values import Photo
from deconvnet_cli.data.video_files import VIDEO_HINT
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DeconvnetError, ImageError, UsageError, WeightsError
from deconvnet_cli.outputs.overlay import overlay
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.python_words import translated
from deconvnet_cli.outputs.specks import without_specks
from deconvnet_cli.segmentation.crf.refine import refine
from deconvnet_cli.segmentation.settings import CrfSettings

PAGE = DOCS / "python.md"


@pytest.fixture(scope="module")
def segmenter(lively_weights) -> Segmenter:
    return Segmenter.load(lively_weights, proposals=4, precision="fp32")


@pytest.fixture(scope="module")
def result(segmenter, cat) -> SegmentationResult:
    return segmenter.segment(cat)


@pytest.mark.parametrize(
    "arguments, options",
    [
        ({"net": "deconvnet"}, ("--net", "deconvnet")),
        ({"rule": "mean-probability", "batch_size": 2}, ("--rule", "mean-probability")),
        ({"crf": True, "candidates": 500}, ("--crf", "--candidates", 500)),
        (
            {"net": "edeconvnet", "ensemble": "product"},
            ("--net", "edeconvnet", "--ensemble", "product"),
        ),
        ({"net": "edeconvnet", "share": 0.8}, ("--net", "edeconvnet", "--share", 0.8)),
        ({"net": "fcn8s"}, ("--net", "fcn8s")),
    ],
)
def test_the_label_png_is_that_of_the_command_line(
    deconvnet, cat, lively_weights, tiny_fcn, tmp_path, arguments, options
):
    theirs = tmp_path / "theirs.png"
    system = ("--weights", lively_weights, "--precision", "fp32")
    given = {"precision": "fp32", **arguments}
    if "edeconvnet" in options or "fcn8s" in options:
        system += ("--fcn-weights", tiny_fcn)
        given["fcn_weights"] = tiny_fcn
    if "fcn8s" not in options:  # it has no boxes
        system += ("--proposals", 4)
        given["proposals"] = 4
    done = deconvnet("segment", cat, "-o", theirs, *system, *options)
    assert done.exit_code == 0, done.output
    ours = Segmenter.load(lively_weights, **given).segment(cat)
    assert ours.save(tmp_path / "ours.png") == [tmp_path / "ours.png"]
    assert (tmp_path / "ours.png").read_bytes() == theirs.read_bytes()
    assert np.array_equal(ours.probabilities.argmax(0), ours.labels)


def test_what_a_result_holds(result, segmenter, cat):
    assert result.labels.shape == (60, 90) and result.labels.dtype == np.uint8
    assert result.probabilities.shape == (21, 60, 90) and result.probabilities.dtype == np.float32
    assert np.abs(result.probabilities.sum(0) - 1).max() < 1e-5 and result.probabilities.min() >= 0
    assert result.boxes.shape == (4, 4) and result.boxes.dtype == np.int32
    assert result.boxes[0].tolist() == [0, 0, 90, 60]
    assert result.classes == segmenter.classes == CLASSES
    assert set(result.timings) == {"proposals", "net", "labels"}
    assert result.name == "cat.png" and result.photo.size == (90, 60)
    assert result.path == cat
    for found, labels in (
        (result.shares(min_area=0), result.labels),
        (result.shares(), without_specks(result.labels, 0.001)),
    ):
        counts = np.bincount(labels.ravel(), minlength=21) / labels.size
        assert found == pytest.approx(
            {name: share for name, share in zip(CLASSES, counts, strict=True) if share}, abs=1e-4
        )
    assert 2 < len(result.shares()) < len(result.shares(min_area=0))  # else this says little


def test_the_former_name_of_probabilities_warns(result):
    with pytest.warns(DeprecationWarning, match=r"use \.probabilities"):
        assert result.scores is result.probabilities


def test_probabilities_after_the_crf_are_those_it_gives(result, lively_weights, cat):
    load = {"proposals": 4, "precision": "fp32", "crf": True, "batch_size": 2}
    segmenter = Segmenter.load(lively_weights, **load)
    assert (segmenter.settings.proposals, segmenter.settings.batch_size) == (4, 2)
    expected = refine(np.asarray(result.photo), result.probabilities, CrfSettings())
    found = segmenter.segment(cat)
    assert np.abs(found.probabilities - expected).max() < 1e-3
    assert np.abs(found.probabilities - result.probabilities).max() > 0.1
    assert "crf" in found.timings


def test_boxes_are_those_that_were_segmented(tiny_weights, cat):
    """As many as the command line says; ``auto`` stops before all have been."""
    every = Segmenter.load(tiny_weights, precision="fp32").segment(cat)
    some = Segmenter.load(tiny_weights, precision="fp32", proposals="auto").segment(cat)
    assert 1 < len(some.boxes) < len(every.boxes) <= 50
    assert np.array_equal(some.boxes, every.boxes[: len(some.boxes)])


def test_boxes_are_in_pixels_of_the_photo_and_scores_in_those_worked_on(segmenter, data):
    with Image.open(data / "chelsea.jpg") as photo:
        wide = photo.resize((1536, 768))
    found = segmenter.segment(wide)
    assert found.labels.shape == (768, 1536) and found.probabilities.shape == (21, 512, 1024)
    assert found.boxes[0].tolist() == [0, 0, 1536, 768]
    small = segmenter.segment(wide.resize((1024, 512), Image.Resampling.BILINEAR, reducing_gap=2.0))
    assert np.array_equal(found.boxes, np.rint(small.boxes * 1.5).astype(np.int32))


def test_any_kind_of_photo_gives_the_same(result, segmenter, cat):
    array = np.array(read_photo(cat))
    with Image.open(cat) as image:
        kinds = [str(cat), cat.read_bytes(), array, image, array[..., ::-1][..., ::-1]]
        for kind in kinds:
            assert np.array_equal(segmenter.segment(kind).labels, result.labels)
    turned = cv2.imread(str(cat))[..., ::-1]
    assert np.array_equal(segmenter.segment(turned).probabilities, result.probabilities)


def test_files_grey_alpha_and_tensors(segmenter, cat):
    """Each kind is the RGB photo that its definition says."""

    def seen(photo) -> np.ndarray:
        return np.array(segmenter.segment(photo).photo)

    rgb = np.array(read_photo(cat))
    with cat.open("rb") as file:
        found = segmenter.segment(file)
    assert found.name == "cat.png" and np.array_equal(found.photo, rgb)
    assert np.array_equal(seen(io.BytesIO(cat.read_bytes())), rgb)
    with pytest.raises(ImageError, match=r"cat\.png: cannot be read \(.*closed.*\); open it again"):
        segmenter.segment(file)
    grey = rgb[..., 0]
    for photo in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert np.array_equal(seen(photo), np.repeat(grey[..., None], 3, 2))
    alpha = np.where(np.arange(90) < 40, 0, 255).astype(np.uint8)
    rgba = np.dstack([rgb, np.broadcast_to(alpha, (60, 90))])
    on_black = np.where(rgba[..., 3:] == 0, 0, rgb)
    planes = torch.from_numpy(np.moveaxis(rgba, 2, 0).copy())
    for photo in (rgba, planes, planes.float() / 255, planes.double() / 255):
        assert np.array_equal(seen(photo), on_black)


def test_many_photos_in_order(segmenter, cat, data):
    with Image.open(data / "chelsea.jpg") as photo:
        other = photo.convert("RGB").resize((50, 40))
    photos = [cat, other, b"no photo", cat]
    failed = []
    for workers in (1, 2):
        many = segmenter.segment_many(
            iter(photos), workers=workers, on_error=lambda *given: failed.append(given)
        )
        found = [(each.name, each.photo.size) for each in many]
        assert found == [("cat.png", (90, 60)), ("", (50, 40)), ("cat.png", (90, 60))]
    assert [photo for photo, _ in failed] == [b"no photo"] * 2
    begun = segmenter.segment_many(photos)
    assert [next(begun).name, next(begun).name] == ["cat.png", ""]
    with pytest.raises(ImageError, match="bytes: not an image"):
        next(begun)
    with pytest.raises(UsageError, match="workers=0"):
        segmenter.segment_many(photos, workers=0)


def test_one_photo_is_not_many(segmenter, cat):
    """A row of an array would pass for a grey photo, and a line of a file for a file."""
    rgb = np.array(read_photo(cat))
    planes = torch.from_numpy(rgb).permute(2, 0, 1)
    with cat.open("rb") as file:
        singles = [rgb, rgb[..., 0], planes, planes[0], file, cat, str(cat), cat.read_bytes()]
        for photo in (*singles, io.BytesIO(b"a"), bytearray(b"a"), Image.fromarray(rgb)):
            with pytest.raises(UsageError, match=r"^\w+: segment_many takes several photos"):
                segmenter.segment_many(photo)
    both = [each.photo.size for each in segmenter.segment_many(np.stack([rgb, rgb]))]
    assert both == [(90, 60)] * 2


def test_masks_and_what_notebooks_show(result, segmenter):
    labels = result.labels
    assert np.array_equal(result.mask("cat"), labels == 8)
    assert np.array_equal(result.mask("Dog", "cat"), (labels == 8) | (labels == 12))
    assert np.array_equal(result.mask(), labels != 0)
    with pytest.raises(UsageError, match=r"mask: no class is called 'catt'; did you mean cat\?"):
        result.mask("catt")
    for wrong in (8, ["cat"]):
        with pytest.raises(UsageError, match=r"mask: .* is no name of a class"):
            result.mask(wrong)
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert np.array_equal(np.array(shown), np.array(result.overlay()))
    stem = segmenter.system.deconvnet.path.stem
    assert repr(segmenter) == f"Segmenter({stem} on cpu, float32, proposals=4)"


@pytest.mark.parametrize(
    "message, right",
    [
        ("--share needs two nets; add --net fcn8s", "share needs two nets; add net='fcn8s'"),
        ("--device cuda:7: none; use --device cpu", "device='cuda:7': none; use device='cpu'"),
        ("--palette colours it; add --overlay", "palette colours it; add overlay=True"),
        ("give --net fcn8s or --net deconvnet", "give net='fcn8s' or net='deconvnet'"),
        ("a--net.jpg: see --version", "a--net.jpg: see --version"),
        ("--background light blue: no colour", "background='light blue': no colour"),
        ("--min-area -3: must be", "min_area=-3: must be"),
        ("--polygons coco-polygons goes with", "polygons='coco-polygons' goes with"),
        ("give another output with -o", "give another output"),
        ("give a folder: -o DIR/", "give a folder: DIR/"),
        (f"a.mp4: {VIDEO_HINT}", f"a.mp4: {VIDEO_HINT}"),
        ("--net x: see `a --net x`; add --crf", "net='x': see `a --net x`; add crf=True"),
    ],
)
def test_errors_in_the_words_of_python(message, right):
    assert translated(message) == right


def test_no_error_of_a_segmenter_names_an_option(result):
    for call in (
        lambda: Segmenter.load(share=0.5),
        lambda: Segmenter.load(fcn_weights="a"),
        lambda: Segmenter.load(precision="fp16", device="cpu"),
        lambda: Segmenter.load(device="cuda:99"),
        lambda: result.overlay(palette="pink"),
        lambda: result.save("a.png", only=["cat"]),
        lambda: result.cutout(["unicorn"]),
    ):
        with pytest.raises(DeconvnetError) as caught:
            call()
        assert "--" not in str(caught.value)


def test_uploads_of_web_frameworks(segmenter, cat):
    """Flask calls an upload by the field of its form; FastAPI's read() is to be awaited."""

    class OfFlask(io.BytesIO):
        name, filename = "file", "folder/cat.png"

    class OfFastAPI:
        filename = "cat.png"

        async def read(self, size: int = -1) -> bytes:
            return b""

    assert segmenter.segment(OfFlask(cat.read_bytes())).name == "cat.png"
    with pytest.raises(ImageError, match=r"cat.png: its read\(\) is to be awaited; give what"):
        segmenter.segment(OfFastAPI())


def test_a_pil_image_is_turned_upright_and_left_as_it_was(segmenter, cat, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(cat) as image:
        image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        found = segmenter.segment(image)
        assert image.size == (90, 60)
    assert found.photo.size == (60, 90)
    assert np.array_equal(found.labels, segmenter.segment(tmp_path / "turned.png").labels)


@pytest.mark.parametrize(
    "photo, words",
    [
        (np.zeros((4, 4, 3)), r"float64 4 x 4 x 3: must be uint8.*array \* 255"),
        (np.zeros(4, np.uint8), r"array uint8 4: must be H x W \(grey\), H x W x 3"),
        (np.zeros((4, 4, 2), np.uint8), "H x W x 3"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 3 x 4 x 5: must be H x W.*transpose\(1, 2, 0\)"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels, so the image is empty"),
        (np.zeros((4, 4, 3), np.int64), r"int64.*from 0 to 255: array.astype\('uint8'\)"),
        (np.full((4, 4, 3), 200.0), r"float64.*from 0 to 255: array.astype\('uint8'\)"),
        (np.full((4, 4), 999, ">u2"), r">u2.*from 0 to 65535: \(array // 257\).astype\('uint8'\)"),
        (np.zeros((4, 4), bool), r"bool.*for True and False: array.astype\('uint8'\) \* 255"),
        (np.array([["a"]]), "<U1 1 x 1: must be uint8, 0 to 255; give the numbers of its pixels"),
        ([[1, 2, 3]], "list: not a photo; give a path.*torch tensor"),
        (torch.zeros(5, 4, 3), r"tensor float32 5 x 4 x 3: must be C x H x W.*permute\(2, 0, 1\)"),
        (torch.zeros(1, 3, 4, 5), "one photo at a time"),
        (torch.full((3, 4, 5), 1.5), "from 0 to 1, before any normalisation"),
        (torch.full((3, 4, 5), float("nan")), "from 0 to 1"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "tensor int64.*must be uint8"),
        (io.StringIO("text"), "open file: open as text; open it with mode 'rb'"),
        (io.BytesIO(b"no photo"), "open file: not an image"),
        (b"no photo", "bytes: not an image"),
        ("nowhere.jpg", "nowhere.jpg: no such file"),
        (Image.new("RGB", (0, 5)), "0x5 pixels, so the image is empty"),
    ],
)
def test_what_is_no_photo(segmenter, photo, words):
    with pytest.raises(ImageError, match=words) as caught:
        segmenter.segment(photo)
    assert "\n" not in str(caught.value)


def test_arrays_and_images_that_show_nothing_are_noted(segmenter, cat, capsys):
    """So are floats from 0 to 1 that became whole numbers; the file itself gets no such line."""
    with Image.open(cat) as image:
        values = (np.asarray(image.convert("RGB")) / 255).astype(np.uint8)
    for photo, name in (
        (values, "array"),
        (torch.from_numpy(values).permute(2, 0, 1), "tensor"),
        (Image.fromarray(values), "PIL image"),
    ):
        segmenter.segment(photo)
        line = f"deconvnet: {name}: is nearly one colour; check whether it is the photo"
        assert capsys.readouterr().err.startswith(line)
    segmenter.segment(Image.fromarray(np.asarray(Image.open(cat)).astype(np.uint16)[..., 0] * 4))
    assert "PIL image: none of its 16-bit values is over 1023" in capsys.readouterr().err
    segmenter.segment(cat)
    assert capsys.readouterr().err == ""


def test_the_a_of_lab_is_no_alpha(segmenter, cat):
    with Image.open(cat) as image:
        rgb = image.convert("RGB")
    found = segmenter.segment(rgb.convert("LAB")).photo
    assert np.abs(np.array(found, int) - np.array(rgb, int)).max() < 20  # else it is black


def test_a_damaged_pil_image(segmenter, data, tmp_path):
    path = tmp_path / "half.jpg"
    path.write_bytes((data / "chelsea.jpg").read_bytes()[:9000])
    with Image.open(path) as image, pytest.raises(ImageError, match="PIL image: damaged"):
        segmenter.segment(image)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"net": "unet"}, "net='unet': must be one of deconvnet, fcn8s, edeconvnet"),
        ({"rule": "sum"}, "must be one of max, max-probability"),
        ({"precision": "fp8"}, "must be one of auto, fp32, bf16, fp16"),
        ({"net": "edeconvnet", "ensemble": "sum"}, "must be one of mean, product"),
        ({"net": "edeconvnet", "share": 2}, "share=2: must be a number from 0 to 1"),
        ({"net": "edeconvnet", "share": "a"}, "share='a': must be a number from 0 to 1"),
        ({"proposals": "many"}, "proposals='many': must be a whole number or 'auto'"),
        ({"crf": True, "crf_backend": "cuda"}, "must be one of torch, pydensecrf"),
        ({"proposals": 0}, "proposals=0: must be a whole number above 0"),
        ({"proposals": "many"}, "proposals='many'"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"candidates": True}, "candidates=True"),
        ({"edges": "sobel"}, "edges='sobel'"),
        ({"edges": "structured:"}, "edges='structured:'"),
        ({"edges": None}, "edges=None"),
        ({"precision": None}, "precision='None': must be one of"),
        ({"crf": "no"}, "crf='no': must be True or False"),
        ({"share": 0.5}, "combine two nets"),
        ({"net": "fcn8s", "proposals": 3}, "without boxes; leave out proposals"),
        ({"net": "fcn8s", "proposals": "auto"}, "without boxes; leave out proposals"),
        ({"weights": "fcn8s-mobilenet", "rule": "max"}, "without boxes; leave out rule"),
        ({"net": "fcn8s", "candidates": 9}, "without boxes; leave out candidates"),
    ],
)
def test_arguments_that_there_are_not(arguments, words):
    with pytest.raises(UsageError, match=words):
        Segmenter.load(**arguments)


def test_a_model_of_edges_is_read_before_the_first_photo(tmp_path):
    with pytest.raises(WeightsError, match="no such structured-edge model"):
        Segmenter.load(edges=f"structured:{tmp_path / 'none.yml'}", proposals=1)


def test_whole_numbers_of_numpy_are_whole_numbers(lively_weights):
    segmenter = Segmenter.load(lively_weights, proposals=np.int64(3), batch_size=np.int8(4))
    assert (segmenter.settings.proposals, segmenter.settings.batch_size) == (3, 4)


def test_pictures_and_files_are_those_of_the_modules(result, tmp_path):
    expected = overlay(
        result.photo,
        without_specks(result.labels, 0.001),
        colours=colours_of("safe"),
        classes=CLASSES,
        only=["cat"],
    )
    for shown in (result.overlay(["cat"]), result.overlay(only=["cat"], palette="safe")):
        assert np.array_equal(np.array(shown), np.array(expected))
    files = result.save(tmp_path / "a.npy", cutout=True, polygons="geojson")
    assert [path.name for path in files] == ["a.npy", "a.cutout.png", "a.geojson"]
    assert np.array_equal(np.load(files[0]), result.labels)
    with Image.open(files[1]) as image:
        assert np.array_equal(np.array(image), np.array(result.cutout()))
    assert json.loads(files[2].read_text()) == result.geojson()
    (coco,) = result.save(tmp_path / "b.png", polygons="coco")[1:]
    assert json.loads(coco.read_text()) == result.coco()
    with pytest.raises(UsageError, match="palette='pink': must be one of"):
        result.overlay(palette="pink")


@pytest.mark.parametrize(
    "outputs, words",
    [
        ({"overlay": "a.png"}, "overlay='a.png': must be True or False"),
        ({"cutout": True, "crop": 1}, "crop=1: must be True or False"),
        ({"mask": True}, "mask: True is no name of a class; known: background"),
        ({"overlay": True, "only": 8}, "only: 8 is no name of a class"),
        ({"cutout": True, "background": (255, 0, 0)}, r"background=.*255, 0, 0.*: no colour; give"),
    ],
)
def test_outputs_that_there_are_not(result, tmp_path, outputs, words):
    with pytest.raises(UsageError, match=words):
        result.save(tmp_path / "a.png", **outputs)
    assert not list(tmp_path.iterdir())


def test_names_of_classes_may_come_from_an_iterator(result, tmp_path):
    files = [
        result.save(tmp_path / name, overlay=True, only=only, mask=mask)
        for name, only, mask in (
            ("a.png", ["cat", "dog"], ["cat"]),
            ("b.png", iter(["cat", "dog"]), iter(["cat"])),
        )
    ]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_what_the_package_exports():
    assert deconvnet_cli.__all__ == ["SegmentationResult", "Segmenter", "__version__"]
    assert set(deconvnet_cli.__all__) <= set(dir(deconvnet_cli))
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        deconvnet_cli.Segmentor  # noqa: B018
    assert (resources.files("deconvnet_cli") / "py.typed").is_file()
    assert issubclass(ImageError, DeconvnetError)


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, deconvnet_cli\n"
        "heavy = {'torch', 'cv2', 'numpy', 'PIL', 'click', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "deconvnet_cli.Segmenter\nassert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_in_docs_runs(data, tmp_path, monkeypatch, capsys):
    shutil.copy(data / "chelsea.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) > 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert "(300, 451) uint8" in said and "of the photo is cat" in said
    assert "float64 300 x 451 x 3: must be uint8" in said


def test_what_holds_the_bytes_of_a_file(segmenter, result, cat):
    for kind in (bytes, bytearray, memoryview):
        assert kind in get_args(Photo)  # type checkers allow it too
        assert np.array_equal(segmenter.segment(kind(cat.read_bytes())).labels, result.labels)


@pytest.mark.parametrize(
    "weights, arguments",
    [
        ("lively", {"net": "edeconvnet", "crf": True}),
        ("lively", {"rule": "mean-probability"}),
        ("lively", {"rule": "context", "proposals": "auto"}),
        ("lively", {"rule": "max", "crf": True}),
        ("lively", {"net": "fcn8s", "proposals": None}),
        ("deconvnet-mobilenet", {"proposals": 3}),
        ("deconvnet-mobilenet", {"net": "edeconvnet", "proposals": 2}),
    ],
)
def test_the_default_type_of_a_notebook_does_not_matter(
    cat, lively_weights, tiny_fcn, weights, arguments
):
    """Neither when the nets are loaded nor when a photo is segmented."""
    own = weights == "lively"
    mine = {"weights": lively_weights if own else weights, "proposals": 4, "precision": "fp32"}
    if own and "net" in arguments:
        mine["fcn_weights"] = tiny_fcn
    expected = Segmenter.load(**{**mine, **arguments}).segment(cat)
    torch.set_default_dtype(torch.float64)
    try:
        found = Segmenter.load(**{**mine, **arguments}).segment(cat)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert found.probabilities.dtype == np.float32
