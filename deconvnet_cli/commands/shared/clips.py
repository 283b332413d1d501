"""Label the frames of video clips for ``deconvnet segment``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from deconvnet_cli.commands.shared.clip_plan import DIGITS, OVERLAY, ClipJob
from deconvnet_cli.data.video import Frame, frames, opened_clip
from deconvnet_cli.errors import DeconvnetError
from deconvnet_cli.outputs.class_filter import BACKGROUND
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import NONE
from deconvnet_cli.outputs.video import overlay_video
from deconvnet_cli.reporting import console
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.runtime.interrupts import stop_signals
from deconvnet_cli.segmentation.segment import Segmentation, segment, summarise
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.storage.files import PART, make_folder, remove_parts

FRAME_FILES = r"\.png|\.npy|\.cutout\.png|\.mask\.png|\.geojson"


@dataclass
class Done:
    """The frames of a clip that are done.

    Attributes:
        count: How many they are.
        first, last: The labels' paths of the first and the last.
        classes: In how many of them each class is.
        overlay: The MP4 of their overlays, once it is whole.
    """

    count: int = 0
    first: Path = Path()
    last: Path = Path()
    classes: Counter[str] = field(default_factory=Counter)
    overlay: Path | None = None

    def add(self, target: Path, classes: Iterable[str]) -> None:
        """Count a frame with these classes, whose labels go to ``target``."""
        self.first = self.first if self.count else target
        self.last = target
        self.count += 1
        self.classes.update(list(classes))  # a mapping would be taken for counts


def segment_clips(
    jobs: list[ClipJob],
    system: System,
    settings: SegmentSettings,
    max_pixels: int,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Label the frames of all clips, and report those that fail.

    Raises:
        DeconvnetError: Ctrl-C or SIGTERM stopped it.
        SystemExit: A clip failed.
    """
    make_folder(jobs[0].folder)
    failed = False
    with stop_signals() as stopped:
        for job in jobs:
            done = Done()
            try:
                segment_clip(job, done, system, settings, max_pixels, stopped, quiet, as_json)
            except DeconvnetError as error:
                failed = True
                console.failure(error)
            overlay = str(done.overlay) if done.overlay else None
            if as_json:
                line = {"image": str(job.path), "frames": done.count, "overlay": overlay}
                console.json_line(line)
            for text in () if quiet else summary(job, done, system.classes):
                console.say(text)
            if stopped():
                raise DeconvnetError(
                    f"{job.path}: stopped after {done.count} frames, whose files stay; the same "
                    "command begins anew"
                )
    if failed:
        raise SystemExit(1)


def segment_clip(
    job: ClipJob,
    done: Done,
    system: System,
    settings: SegmentSettings,
    max_pixels: int,
    stopped: Callable[[], bool],
    quiet: bool,
    as_json: bool,
) -> None:
    """Label the frames of one clip until ``stopped`` returns True.

    ``done`` counts the frames, also if an error is raised later.

    Raises:
        ImageError: The clip cannot be read, or not to its end.
        OutputError: A file cannot be written.
    """
    failure: DeconvnetError | None = None
    with ExitStack() as stack:
        clip = stack.enter_context(opened_clip(job.path, max_pixels))
        add = None
        if job.overlay is not None:
            remove_parts([job.overlay])  # what a run that was killed has left
            asked, rate = job.asked, clip.rate / job.every
            video = overlay_video(job.overlay, rate, system.classes, asked.only, asked.palette)
            add = stack.enter_context(video)
        progress = stack.enter_context(console.progress(quiet))
        total = None if clip.count is None else ceil(clip.count / job.every)
        advance = console.bar(progress, "frames", total)
        try:
            for frame in frames(clip, job.every):
                if stopped():
                    break
                target = job.target(frame.number, clip.count)
                seen = label_frame(job, frame, target, system, settings)
                if add is not None:
                    add(frame.photo, seen.labels)
                found = summarise(seen, system.classes)
                done.add(target, found["classes"])
                advance()
                if as_json:
                    console.json_line({**line_of(job, frame, target), **found})
        except DeconvnetError as error:  # raised below: the overlays until here become a whole MP4
            failure = error
    done.overlay = job.overlay if done.count else None
    if failure is not None:
        raise failure


def label_frame(
    job: ClipJob, frame: Frame, target: Path, system: System, settings: SegmentSettings
) -> Segmentation:
    """Segment a frame, write its files, and return the result without specks."""
    result = segment(frame.photo, system, settings)
    seen = replace(result, labels=job.outputs.shown(result.labels))
    write_outputs(
        frame.photo,
        result.labels,
        target,
        job.outputs,
        system.classes,
        probabilities=result.probabilities,
        name=f"{job.path.name}#frame={frame.number}",
        shown=seen.labels,
    )
    return seen


def line_of(job: ClipJob, frame: Frame, target: Path) -> dict[str, Any]:
    """Return what the JSON line of a frame says beside its classes."""
    line: dict[str, Any] = {
        "image": str(job.path),
        "frame": frame.number,
        "seconds": round(frame.seconds, 3),
        "output": None if job.outputs.format == NONE else str(target),
    }
    beside = [str(path) for path in job.outputs.beside(target)]
    return {**line, "beside": beside} if beside else line


def summary(job: ClipJob, done: Done, classes: Sequence[str]) -> Iterator[str]:
    """Yield lines that name the files of a clip, and say which classes are in how many frames."""
    if not done.count:
        return
    first, last = job.outputs.files(done.first), job.outputs.files(done.last)
    named = [
        str(one) if one == other else f"{one} to {other.name}"
        for one, other in zip(first, last, strict=True)
    ]
    named += [str(done.overlay)] if done.overlay else []
    common = (each for each in done.classes.most_common() if each[0] != classes[BACKGROUND])
    found = ", ".join(f"{name} in {count}" for name, count in common)
    frames = counted(done.count, "frame")
    yield f"{job.path} -> {', '.join(named)}: {frames} ({found or 'nothing found'})"
    labels = np.array([classes.index(name) for name in done.classes], np.uint8)
    for names in job.asked.absent(labels, classes):
        yield f"{job.path}: no {names} found in any frame, so what shows it is empty"
    if others := left_over(job, done):
        yield (
            f"{job.folder}: also has {counted(len(others), 'file')} of an earlier run: {others[0]}"
            + (f" to {others[-1]}" if others[1:] else "")
        )


def left_over(job: ClipJob, done: Done) -> list[str]:
    """Return the names of the files of this clip that this run has not written, sorted."""
    numbers = range(0, done.count * job.every, job.every)
    endings = [path.name.removeprefix(done.first.stem) for path in job.outputs.files(done.first)]
    frame = re.compile(rf"{re.escape(job.path.stem)}_(\d{{{DIGITS},}})({FRAME_FILES})")
    found = []
    for name in sorted(path.name for path in job.folder.iterdir()):
        match = frame.fullmatch(name)
        other = match is not None and not (int(match[1]) in numbers and match[2] in endings)
        part = name.startswith(f".{job.path.stem}_") and PART in name  # of a run that was killed
        if other or part or (name == f"{job.path.stem}{OVERLAY}" and done.overlay is None):
            found.append(name)
    return found
