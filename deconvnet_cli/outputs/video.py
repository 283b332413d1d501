"""Write the overlays of a clip's frames as a video."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.errors import DependencyError, DiskFullError, ImageError, OutputError
from deconvnet_cli.outputs.class_filter import chosen_labels
from deconvnet_cli.outputs.legend import NOTHING, PAPER, Entry, entry_text, layout_for, with_legend
from deconvnet_cli.outputs.overlay import legend_entries, painted
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.storage.files import part_file

SUFFIX = ".mp4"
# H.264, which browsers play too, if OpenCV's FFmpeg can write it; otherwise MPEG-4.
CODECS = ("avc1", "mp4v")
LEGEND = 6  # classes of a frame that have a place in the legend
SLOWEST = 0.01  # frames a second that an MP4 can have here
LEAST_FREE = 1 << 20  # bytes: less is a full disk

# Writes a frame: the photo, mode RGB, and its labels, uint8 H x W.
AddFrame = Callable[[Image.Image, NDArray[np.uint8]], None]


@contextmanager
def overlay_video(
    path: Path,
    rate: float,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    palette: str = "safe",
) -> Iterator[AddFrame]:
    """Yield a function that adds a frame to an MP4, which is put in place when the block ends.

    If the block raises an error, or adds no frame, there is no MP4.

    Args:
        rate: The frames a second.
        only: The names of the classes that are shown; None shows all but the background.
        palette: One of ``files.PALETTES``.

    Raises:
        ImageError: The frames differ in size.
        DependencyError: OpenCV can encode no MP4.
        OutputError: The file cannot be written.
        UsageError: ``only`` names an unknown class.
    """
    chosen = chosen_labels(only, classes)
    draw = overlay_drawer(classes, chosen, colours_of(palette, classes))
    writer = cv2.VideoWriter()
    added: list[tuple[int, int]] = []  # the sizes of the frames

    with part_file(path) as part:

        def add(photo: Image.Image, labels: NDArray[np.uint8]) -> None:
            frame = draw(photo, labels)
            if not added:
                start(writer, part, path, max(rate, SLOWEST), frame.size)
            elif photo.size != added[0]:
                raise ImageError(
                    f"{path}: the clip's size changes from {added[0][0]}x{added[0][1]} to "
                    f"{photo.width}x{photo.height}; leave out --overlay, or cut the clip there"
                )
            added.append(photo.size)
            writer.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))

        try:
            yield add
        finally:
            writer.release()
        if added:
            check_written(part, path, len(added))
        else:
            part.unlink()


def start(
    writer: cv2.VideoWriter, part: Path, path: Path, rate: float, size: tuple[int, int]
) -> None:
    """Open the file with the first codec that OpenCV has."""
    for codec in CODECS:
        if writer.open(str(part), cv2.VideoWriter.fourcc(*codec), rate, size):
            return
    raise DependencyError(
        f"{path}: this OpenCV can encode no MP4; pip install --force-reinstall "
        "opencv-contrib-python, or leave out --overlay"
    )


def check_written(part: Path, path: Path, count: int) -> None:
    """Raise OutputError unless the file has so many frames: OpenCV reports no failed writing."""
    reader = cv2.VideoCapture(str(part))
    try:
        found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
    finally:
        reader.release()
    if found != count:
        if shutil.disk_usage(part).free < LEAST_FREE:
            raise DiskFullError(f"{path}: cannot be written (the disk is full)")
        raise OutputError(f"{path}: cannot be written whole ({found} of {count} frames are in it)")


def overlay_drawer(
    classes: Sequence[str], chosen: tuple[int, ...], colours: NDArray[np.uint8]
) -> Callable[[Image.Image, NDArray[np.uint8]], Image.Image]:
    """Return a function that draws the overlay of a frame with its legend, mode RGB.

    All overlays of frames of one size have the same size, with an even width and height, as codecs
    need. The legend has the classes in the order of their labels, so that they keep their places,
    or the largest ones if there are too many.
    """
    texts = [entry_text(Entry(classes[label], (0, 0, 0), 1.0)) for label in chosen]
    most = min(LEGEND, len(texts))

    def draw(photo: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
        layout = layout_for(photo.size, [*texts, NOTHING], most)
        entries = legend_entries(labels, colours, classes, chosen)
        if len(entries) <= layout.places:
            entries.sort(key=lambda entry: classes.index(entry.name))
        image = with_legend(painted(photo, labels, colours, chosen), entries, layout)
        return even(image)

    return draw


def even(image: Image.Image) -> Image.Image:
    """Return an image with an even width and height: up to a column and a row are added."""
    width, height = image.width + image.width % 2, image.height + image.height % 2
    if (width, height) == image.size:
        return image
    larger = Image.new("RGB", (width, height), PAPER)
    larger.paste(image)
    return larger
