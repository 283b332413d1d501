"""Plan which files ``deconvnet segment`` writes of video clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import CVAT, Outputs
from deconvnet_cli.outputs.targets import into_folder, refuse_nothing
from deconvnet_cli.storage.files import refuse_overwriting
from deconvnet_cli.storage.remote import as_compared

DIGITS = 6  # of the number of a frame, at least
OVERLAY = "_overlay.mp4"
WITHOUT_PICTURES = ("geojson", None)  # kinds of polygons that name no picture of the frame
REMEDY = "make pictures of it (ffmpeg -i CLIP frames/%06d.png) for `deconvnet batch`"


@dataclass(frozen=True)
class ClipJob:
    """A clip and its outputs.

    Attributes:
        path: The clip.
        folder: The folder of the outputs.
        asked: The files that are asked for.
        outputs: Those of each frame.
        every: Every so-many-th frame is labelled.
        overlay: The MP4 of the overlays, or None.
    """

    path: Path
    folder: Path
    asked: Outputs
    outputs: Outputs
    every: int
    overlay: Path | None

    def target(self, number: int, count: int | None) -> Path:
        """Return the path of a frame's labels; the names of ``count`` frames sort by number."""
        digits = max(DIGITS, len(str(max(0, (count or 0) - 1))))
        return self.folder / f"{self.path.stem}_{number:0{digits}d}{self.outputs.label_suffix}"


def plan_clips(
    paths: list[Path], output: str | None, outputs: Outputs, save_scores: bool, every: int
) -> list[ClipJob]:
    """Return the clips with their outputs, before any of them is read.

    Raises:
        UsageError: An option does not go with a video, there is no folder for the frames, or an
            output would replace another one or a clip.
    """
    if save_scores:
        raise UsageError(f"--save-scores is for photos, not for a video; {REMEDY}")
    if outputs.format == CVAT or outputs.polygons not in WITHOUT_PICTURES:
        option = "--format cvat" if outputs.format == CVAT else f"--polygons {outputs.polygons}"
        raise UsageError(f"{option} goes with files of photos, not with a video; {REMEDY}")
    refuse_nothing(outputs)
    folder = frame_folder(output)
    if len({as_compared(Path(path.stem)) for path in paths}) < len(paths):
        raise UsageError("two videos would be written to the same files; give each its own folder")
    only = outputs.only if outputs.cutout or outputs.polygons else None
    of_frame = replace(outputs, overlay=False, palette=Outputs.palette, only=only)
    jobs = []
    for path in paths:
        overlay = folder / f"{path.stem}{OVERLAY}" if outputs.overlay else None
        if overlay is not None:
            for other in paths:
                refuse_overwriting(other, overlay, "a video to label")
            if overlay.is_dir():
                raise UsageError(f"{overlay}: is a folder; the overlays would go to this file")
        jobs.append(ClipJob(path, folder, outputs, of_frame, every, overlay))
    return jobs


def frame_folder(output: str | None) -> Path:
    """Return the folder that -o names for frames; it may be missing.

    Raises:
        UsageError: -o is missing, is a file, or has the name of one.
    """
    if output is None or output == "-":
        raise UsageError("a video has many frames; give a folder for their labels: -o DIR/")
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{output}: is a file; the frames of a video need a folder: -o DIR/")
    if folder.suffix and not into_folder(output):
        raise UsageError(f"{output}: the name of a file; a video needs a folder: -o {output}/")
    return folder
