"""What is fuzzed: each reader of the package with small valid files and the way to damage them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import nn

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import label_png, read_mask
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.evaluation.counts import Counts, merged, read_tallies, write_tallies
from deconvnet_cli.evaluation.intervals import compare
from deconvnet_cli.evaluation.predictions import read_prediction
from deconvnet_cli.evaluation.tally import Tally
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.segmentation.score_maps import ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred, segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.stored_scores import read_scores, write_scores
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.training.settings import changed, default_settings
from deconvnet_cli.training.settings_checks import check_together
from deconvnet_cli.training.settings_toml import as_toml, read_settings
from deconvnet_cli.training.soft_labels import SoftLabels, read_soft, write_soft
from deconvnet_cli.weights import importing
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, store
from deconvnet_cli.weights.importing import import_weights
from helpers.caffe_encoder import net as caffemodel
from helpers.fuzz_mutations import Mutation, inside_json, inside_png, inside_safetensors, inside_zip

WIDTH, HEIGHT = 23, 17
NARROW = {"width": 1 / 512, "fc": 2}  # one channel a layer
Seeds = Callable[[Path], list[bytes]]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        suffix: of its files.
        seeds: valid files; a folder to make them in is given.
        read: reads a file, and uses what it read as the package does.
        inside: damage that keeps to the format; None if it has nothing to keep to.
        quiet: nothing may go to standard error. libtiff writes there, past Pillow.
        bounded: no memory may be asked for that cannot be had. Torch's reader of old pickles asks
            for as much as a length in them says, and uses what there is.
    """

    suffix: str
    seeds: Seeds
    read: Callable[[Path], object]
    inside: Mutation | None = None
    quiet: bool = True
    bounded: bool = True


def pixels(shape: tuple[int, ...] = (HEIGHT, WIDTH, 3), top: int = 256) -> np.ndarray:
    return np.random.default_rng(1).integers(0, top, shape).astype(np.uint8)


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def with_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "a camera", 72.0
    exif.get_ifd(0x8769)[0x9003] = "2015:12:07 00:00:00"
    return exif


def jpeg(_: Path) -> list[bytes]:
    photo = Image.fromarray(pixels())
    return [
        saved(photo, format="JPEG", exif=with_exif()),
        saved(
            photo, format="JPEG", progressive=True, icc_profile=b"profile" * 20, comment=b"hello"
        ),
        saved(photo.convert("CMYK"), format="JPEG", subsampling=0),
        saved(photo.convert("L"), format="JPEG", restart_marker_blocks=1),
    ]


def png(_: Path) -> list[bytes]:
    photo = Image.fromarray(pixels())
    deep = Image.fromarray(pixels().astype(np.uint16)[..., 0] * 257)
    return [
        saved(photo, format="PNG", exif=with_exif(), icc_profile=b"profile" * 20),
        saved(photo.quantize(16), format="PNG", transparency=bytes(range(0, 256, 16)), bits=4),
        saved(deep, format="PNG"),
        saved(photo.convert("RGBA"), format="PNG", save_all=True, append_images=[photo] * 2),
    ]


def gif(_: Path) -> list[bytes]:
    frames = [Image.fromarray(pixels((HEIGHT, WIDTH), 16) + 16 * k).convert("P") for k in range(3)]
    moving = saved(frames[0], format="GIF", save_all=True, append_images=frames[1:], transparency=3)
    return [moving, saved(Image.fromarray(pixels()).quantize(200), format="GIF", interlace=0)]


def tiff(_: Path) -> list[bytes]:
    photo = Image.fromarray(pixels())
    numbers = Image.fromarray(pixels()[..., 0].astype(np.float32))
    packings = ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    return [
        *(saved(photo, format="TIFF", compression=packing) for packing in packings),
        saved(photo.convert("1"), format="TIFF", compression="group4"),
        saved(numbers, format="TIFF"),
        saved(photo.convert("RGBA"), format="TIFF", exif=with_exif(), big_tiff=True),
    ]


def webp(_: Path) -> list[bytes]:
    photo = Image.fromarray(pixels())
    clear = photo.convert("RGBA")
    return [
        saved(photo, format="WEBP", exif=with_exif()),
        saved(clear, format="WEBP", lossless=True),
        saved(photo, format="WEBP", save_all=True, append_images=[photo] * 2),
    ]


def bmp(_: Path) -> list[bytes]:
    photo = Image.fromarray(pixels())
    kinds = (photo, photo.convert("RGBA"), photo.quantize(200), photo.convert("1"))
    return [saved(kind, format="BMP") for kind in kinds] + [RUNS]


# An 8-bit BMP packed in runs, 4 x 2, with two colours; Pillow reads such files and writes none.
_PACKED = b"\4\0\0\0\2\1\2\0\0\1"
RUNS = (
    b"BM" + (62 + len(_PACKED)).to_bytes(4, "little") + bytes(4) + (62).to_bytes(4, "little")
    + b"\x28\0\0\0\4\0\0\0\2\0\0\0\1\0\x08\0\1\0\0\0" + len(_PACKED).to_bytes(4, "little")
    + bytes(8) + b"\2\0\0\0" + bytes(4) + b"\0\0\0\0\xff\xff\xff\0" + _PACKED
)  # fmt: skip


def ppm(_: Path) -> list[bytes]:
    photo = Image.fromarray(pixels())
    text = " ".join(map(str, pixels((6 * 5 * 3,)))).encode()
    kinds = (photo, photo.convert("1"), photo.convert("L"), photo.convert("I"))
    return [*(saved(kind, format="PPM") for kind in kinds), b"P3\n# plain\n6 5\n255\n" + text]


def labels() -> np.ndarray:
    found = pixels((HEIGHT, WIDTH), 21)
    found[:3] = 255
    return found


def masks(_: Path) -> list[bytes]:
    return [label_png(labels()), saved(Image.fromarray(labels()), format="PNG")]


def weights(folder: Path) -> list[bytes]:
    return [stored(folder, "deconvnet-vgg16", half, **NARROW) for half in (True, False)]


def wide_weights(folder: Path) -> list[bytes]:
    """Large files; crops are small, since those that can be read are also run."""
    return [stored(folder, "deconvnet-mobilenet", True, {"size": 64, "whole": 64}, head=2)]


def stored(
    folder: Path, name: str, half: bool, shown: dict[str, int] | None = None, **settings: object
) -> bytes:
    torch.manual_seed(0)
    net = build_net(name, settings)
    card = card_for(name, net_settings(net), provenance="made here")
    card = replace(card, input=replace(card.input, **(shown or {})))
    store(folder / "seed.safetensors", net, card, half=half)
    return (folder / "seed.safetensors").read_bytes()


def encoder(folder: Path) -> list[bytes]:
    from safetensors.torch import save

    from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
    from deconvnet_cli.nets.mobilenet_v2 import convolution_pairs

    net = DeconvNetMobile()
    tensors = {"head.logits.weight": net.head.logits.weight, "head.logits.bias": torch.zeros(21)}
    for name, (layer, norm) in convolution_pairs(net).items():
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": norm.bias}
    return [save({name: value.detach().half() for name, value in tensors.items()})]


def caffe(_: Path) -> list[bytes]:
    torch.manual_seed(0)
    files = []
    for name in ("deconvnet-vgg16", "fcn8s"):
        net = build_net(name, NARROW)
        blobs: dict[str, list[np.ndarray]] = {}
        for key, value in net.state_dict().items():
            if key.endswith((".weight", ".bias")) and "upscore8" not in key:
                blobs.setdefault(key.rpartition(".")[0], []).append(value.numpy())
        files += [caffemodel(blobs), caffemodel(blobs, v1=False, legacy=False, packed=False)]
    return files


def pickles(folder: Path) -> list[bytes]:
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3).half()}
    path = folder / "seed.pth"
    files = []
    for zipped in (True, False):
        torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
        files.append(path.read_bytes())
    return [*files, pickle.dumps(dict.fromkeys(state, 1), protocol=2)]


def scores(folder: Path) -> list[bytes]:
    photo = folder / "photo.png"
    Image.fromarray(pixels()).save(photo)
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(3, 5, 7, generator=generator) for _ in range(2)]
    files = []
    for both in (True, False):
        with Image.open(photo) as image:
            scored = Inferred(image, ScoreMaps(maps[0], maps[1] if both else None, True), 4, {})
        write_scores(folder / "seed.npz", scored, photo, (WIDTH, HEIGHT), {"ensemble": {}})
        files.append((folder / "seed.npz").read_bytes())
    return files


def soft(folder: Path) -> list[bytes]:
    write_soft(folder / "seed.npz", SoftLabels(pixels((21, 3, 4))))
    return [(folder / "seed.npz").read_bytes()]


def tallies(folder: Path) -> list[bytes]:
    tally = Tally(replicates=3)
    tally.add("a", labels(), labels().clip(0, 20))
    counts = Counts({"FCN-8s": tally, "DeconvNet": tally}, CLASSES, {"list": "val"})
    write_tallies(folder / "seed.json", counts)
    return [(folder / "seed.json").read_bytes()]


def toml(_: Path) -> list[bytes]:
    return [
        as_toml(asdict(default_settings(net, 1))).encode() for net in ("deconvnet-vgg16", "fcn8s")
    ]


def use_photo(path: Path) -> None:
    photo = read_photo(path)
    assert photo.mode == "RGB" and photo.width and photo.height
    assert len(photo.tobytes()) == 3 * photo.width * photo.height


def use_weights(path: Path) -> None:
    """Weights that are taken must also run: settings that no photo can be shown are refused."""
    with quick_to_build():
        loaded = alone(load(str(path)))
    photo = Image.fromarray(pixels())
    segment(photo, loaded, SegmentSettings(proposals=1)).labels.max()


def use_tallies(path: Path) -> None:
    rows = read_tallies(path).rows
    for tally in merged({path: rows}).values():
        tally.result()
        compare(tally.run, tally.run)


def import_caffe(path: Path) -> None:
    name = "fcn8s" if b"score_fr" in path.read_bytes() else "deconvnet-vgg16"
    import_into(path, name)


def import_pickle(path: Path) -> None:
    """None of these tensors fits the net, so that it stays empty and is built once."""
    with patch.object(importing, "build_net", lambda name, _=None: empty_net(name)):
        import_into(path, "deconvnet-vgg16")


@cache
def empty_net(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_net(name)


def quick_to_build() -> AbstractContextManager[object]:
    """Leave out the initial values of nets: those of the file take their place."""
    return patch.object(nn.modules.conv._ConvNd, "reset_parameters", lambda _: None)


def import_into(path: Path, net: str) -> None:
    with (
        quick_to_build(),
        patch.object(importing, "net_of", lambda tensors: net_of_names(frozenset(tensors))),
    ):
        import_weights(path, path.with_name("made.safetensors"), net, licence="")


@cache
def net_of_names(names: frozenset[str], net_of: Callable[..., object] = importing.net_of) -> object:
    """Return what ``net_of`` does; it builds every net, and many files have the same names."""
    return net_of(dict.fromkeys(names))


def use_encoder(path: Path) -> None:
    from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
    from deconvnet_cli.training.batchnorm import load_folded

    load_folded(DeconvNetMobile(strided=True), path)


def use_settings(path: Path) -> None:
    settings = changed(default_settings("deconvnet-vgg16", 1), read_settings(path), str(path))
    check_together(settings, str(path))


TARGETS = {
    "jpeg": Target(".jpg", jpeg, use_photo), "png": Target(".png", png, use_photo, inside_png),
    "gif": Target(".gif", gif, use_photo), "tiff": Target(".tif", tiff, use_photo, quiet=False),
    "webp": Target(".webp", webp, use_photo), "bmp": Target(".bmp", bmp, use_photo),
    "ppm": Target(".ppm", ppm, use_photo), "mask": Target(".png", masks, read_mask, inside_png),
    "prediction": Target(".png", masks, lambda path: read_prediction(path, labels()), inside_png),
    "safetensors": Target(".safetensors", weights, use_weights, inside_safetensors),
    "mobilenet": Target(".safetensors", wide_weights, use_weights, inside_safetensors),
    "encoder": Target(".safetensors", encoder, use_encoder, inside_safetensors),
    "caffemodel": Target(".caffemodel", caffe, import_caffe),
    "pth": Target(".pth", pickles, import_pickle, inside_zip, bounded=False),
    "scores": Target(".npz", scores, read_scores, inside_zip),
    "soft": Target(".npz", soft, read_soft, inside_zip),
    "tallies": Target(".json", tallies, use_tallies, inside_json),
    "toml": Target(".toml", toml, use_settings),
}  # fmt: skip


def input_of(target: Target, seeds: list[bytes], random: Random) -> bytes:
    """One damaged file."""
    from helpers.fuzz_mutations import blind, splice

    seed = random.choice(seeds)
    kind = random.random()
    if kind < 0.1:
        return splice(random, seed, random.choice(seeds)) or b"\0"
    if target.inside is not None and kind < 0.6:
        try:
            return target.inside(random, seed)
        except zipfile.BadZipFile:
            return blind(random, seed)  # old pickles are no archive
    return blind(random, seed)
