"""Which files are video clips; without imports, as commands ask before they read any file."""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg"),
        *(".mts", ".m2ts", ".3gp", ".flv", ".ogv"),
    )
)
VIDEO_HINT = "a video; `deconvnet segment NAME.mp4 -o DIR/` labels its frames"
HEAD = 400  # bytes of a file that say what it is
# The first bytes of Matroska and WebM, MPEG-PS and MPEG video, Flash, ASF (WMV), and Ogg.
MAGIC = (
    b"\x1a\x45\xdf\xa3",
    b"\0\0\1\xba",
    b"\0\0\1\xb3",
    b"FLV\1",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"OggS",
)
# The first boxes of MP4 and QuickTime files, and the brands of `ftyp` that are photos.
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
PHOTO_BRANDS = (b"avi", b"hei", b"hev", b"mif", b"msf", b"jp2", b"jpx", b"crx")
# Packets of MPEG-TS, and of M2TS: where their first mark lies, and how far it is to the next.
PACKETS = ((0, 188), (4, 192))
MARK = 0x47  # "G", with which GIFs begin too
GIF = (b"GIF87a", b"GIF89a")


def is_video(head: bytes) -> bool:
    """Return whether the first ``HEAD`` bytes of a file are those of a video container."""
    if head.startswith(GIF):
        return False
    if head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return True
    if head[4:8] == b"ftyp":
        return head[8:11] not in PHOTO_BRANDS
    return head[4:8] in BOXES or any(
        len(head) > start + 2 * step and {head[start + n * step] for n in range(3)} == {MARK}
        for start, step in PACKETS
    )


def is_clip(path: Path) -> bool:
    """Return whether a file is a video clip, by what it holds or by its suffix."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return True
    try:
        return path.is_file() and is_video(head_of(path))
    except (OSError, ValueError):  # who reads the file reports it
        return False


def head_of(path: Path) -> bytes:
    """Return the first ``HEAD`` bytes of a file."""
    with open(path, "rb") as file:
        return file.read(HEAD)
