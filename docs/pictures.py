"""Makes the pictures of the README and of these pages, by the tool itself.

Run it anywhere: ``python docs/pictures.py``. On a CPU it takes about half a minute. Another
processor may round otherwise, and give pictures that differ a little.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from box_curve import curves
from PIL import Image

from deconvnet_cli import Segmenter
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.explain import decoder_figures, figures
from deconvnet_cli.explain.explanation import explain
from deconvnet_cli.explain.sheets import Picture, sheet
from deconvnet_cli.storage.files import write_whole

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"
FOLDER = Path(__file__).parent / "pictures"
EXPLAINED = "deconvnet-vgg16"  # the paper's net, shown its 50 boxes
QUALITY = 85  # of a JPEG
NAMES = (
    "labels.png",
    "overlay.jpg",
    "stages.jpg",
    "activations.jpg",
    "progress.png",
    "deciders.jpg",
    "doubt.jpg",
    "boxes.png",
)


def pictures() -> dict[str, bytes]:
    """All of them by their ``NAMES``: JPEGs, and PNGs of what has few colours."""
    segmenter = Segmenter.load()
    result = segmenter.segment(PHOTO)
    paper_net = Segmenter.load(EXPLAINED)
    found = explain(read_photo(PHOTO), paper_net.system, paper_net.settings)
    made = (
        label_png(result.labels),
        jpeg(result.overlay()),
        jpeg(on_a_sheet(decoder_figures.stages(found), 3, 320)),
        jpeg(on_a_sheet(decoder_figures.activations(found), 4, 240)),
        few_colours(on_a_sheet(figures.growth(found), 5, 190)),
        jpeg(on_a_sheet(figures.deciders(found), 2, 490)),
        jpeg(on_a_sheet(figures.doubt(found), 3, 240)),
        few_colours(curves()),
    )
    return dict(zip(NAMES, made, strict=True))


def on_a_sheet(parts: Sequence[Picture], columns: int, width: int) -> Image.Image:
    """Several pictures of this width, pixels, with captions in letters of the usual size."""
    small = []
    for part in parts:
        size = width, round(width * part.image.height / part.image.width)
        image = part.image.convert("RGB").resize(size, Image.Resampling.BOX)
        small.append(replace(part, image=image))
    return Image.open(io.BytesIO(sheet(small, columns)))


def jpeg(image: Image.Image) -> bytes:
    """The bytes of a JPEG with colour at full resolution, which thin lines need."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def few_colours(image: Image.Image) -> bytes:
    """The bytes of a PNG with a palette."""
    buffer = io.BytesIO()
    image.quantize(64, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Write all of them to ``FOLDER``, and take away what is there besides."""
    FOLDER.mkdir(exist_ok=True)
    made = pictures()
    for name, content in made.items():
        write_whole(FOLDER / name, content)
    for other in FOLDER.iterdir():
        if other.name not in made:
            other.unlink()


if __name__ == "__main__":
    main()
