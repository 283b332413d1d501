"""How far the mean IoU would move with other images: a Poisson bootstrap.

An ordinary bootstrap draws N of the N images with replacement, many times; each image then has
a multinomial count in each replicate, and all images must be at hand to draw from. Here each
image draws its own count from Poisson(1), the limit of that multinomial for large N, independent
of the other images and of N. So a replicate is a sum that grows as images come in: memory does
not depend on their number, and the sums of shards add up to those of the whole.

The count depends on the seed and the image's name alone. Two runs over the same images are
therefore weighted alike in each replicate, and their difference is a paired one: what makes an
image easy or hard for both does not blur it.

Sources: Hanley and MacGibbon, "Creating non-parametric bootstrap samples using Poisson
frequencies", Computer Methods and Programs in Biomedicine 83 (2006); Chamandy et al.,
"Estimating Uncertainty for Massive Data Streams", Google technical report (2012).

Sums are int64, replicates x 3 x C: right pixels, pixels of the truth, predicted pixels of each
class. That is all an IoU needs.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError

MAX_REPLICATES = 10_000  # 61 MB with 255 classes: no file can ask for more memory
MAX_COUNT = 2**53  # of pixels in a file: what is summed afterwards stays below 2**63
# Poisson(1) up to 12: one draw in 10^10 would be larger, less than 32 bits can tell apart.
_BELOW = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(13)])[:-1]


@dataclass(frozen=True)
class Comparison:
    """How two runs over the same images differ in mean IoU, replicate by replicate.

    Attributes:
        low: lower end of the 95 % interval of the difference a - b, -1 to 1.
        high: its upper end.
        above: share of the replicates in which a is above b, 0 to 1; a tie is not above.
    """

    low: float
    high: float
    above: float


def image_weights(name: str, replicates: int, seed: int) -> NDArray[np.int64]:
    """How often an image counts in each replicate: Poisson(1) for each, 0 to 12.

    The same on every machine and for good: taken from the bits of a hash, not from a random
    generator whose stream may change with its version. Fewer replicates are the first of more.

    Args:
        name: what the image is called in its list.
        replicates: how many counts.
        seed: another seed gives other counts.
    """
    # Names come from file systems too, whose bytes need not be UTF-8.
    key = f"{seed}/{name}".encode("utf-8", "surrogateescape")
    bits = np.frombuffer(hashlib.shake_256(key).digest(4 * replicates), "<u4")
    return np.searchsorted(_BELOW, bits / 2**32, side="right").astype(np.int64)


def empty_sums(replicates: int, classes: int) -> NDArray[np.int64]:
    """Sums over no image: zeros, replicates x 3 x classes."""
    return np.zeros((replicates, 3, classes), np.int64)


def contribution(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """3 x C of one image: right pixels, pixels of the truth, predicted pixels.

    Args:
        confusion: C x C, rows the truth, columns the prediction.
    """
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def add_image(sums: NDArray[np.int64], name: str, confusion: NDArray[np.int64], seed: int) -> None:
    """Add one image to the sums, in place.

    Args:
        sums: replicates x 3 x C.
        name: what the image is called in its list.
        confusion: C x C of this image.
        seed: the same for all images of the sums.
    """
    weights = image_weights(name, len(sums), seed)
    sums += weights[:, np.newaxis, np.newaxis] * contribution(confusion)


def mean_ious(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean IoU of each replicate, 0 to 1, over the classes it has in truth or prediction.

    A replicate without any pixel is nan: with few images, some have none of them.

    Args:
        sums: replicates x 3 x C.
    """
    right, there, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    union = there + predicted - right
    iou = np.divide(right, union, out=np.zeros(union.shape), where=union > 0)
    averaged = (union > 0).sum(axis=1)
    means = np.full(len(sums), np.nan)
    np.divide(iou.sum(axis=1), averaged, out=means, where=averaged > 0)
    return means


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The middle ``level`` of the values: a percentile interval. Nan is left out.

    Args:
        values: one for each replicate.
        level: share of the values inside, above 0 and below 1.

    Raises:
        DatasetError: all values are nan.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        raise DatasetError("no replicate of the bootstrap has a pixel; score more images")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(sums_a: NDArray[np.int64], sums_b: NDArray[np.int64]) -> Comparison:
    """Compare two runs over the same images with the same seed.

    Args:
        sums_a: replicates x 3 x C of one run.
        sums_b: replicates x 3 x C of the other.

    Raises:
        DatasetError: other images, masks, classes, replicates or seed; or nothing was counted.
    """
    # The truth's pixels of each replicate follow from the masks, the names and the seed alone.
    if sums_a.shape != sums_b.shape or not np.array_equal(sums_a[:, 1], sums_b[:, 1]):
        raise DatasetError(
            "the two runs were not scored on the same images with the same seed; "
            "score both on one list"
        )
    difference = mean_ious(sums_a) - mean_ious(sums_b)
    low, high = interval(difference)
    known = difference[~np.isnan(difference)]
    return Comparison(low, high, above=float((known > 0).mean()))


def packed(sums: NDArray[np.int64]) -> dict[str, object]:
    """Sums as what ``json.dumps`` takes: shape, and base64 of zlib of little-endian int64."""
    data = zlib.compress(sums.astype("<i8").tobytes())
    return {"shape": list(sums.shape), "data": base64.b64encode(data).decode("ascii")}


def unpacked(content: object, replicates: int, classes: int) -> NDArray[np.int64]:
    """The sums that :func:`packed` was called on.

    Args:
        content: what ``json.loads`` returned for them.
        replicates: how many there must be.
        classes: how many there must be.

    Raises:
        DatasetError: malformed, of another shape, or sums that no images have.
    """
    shape = (replicates, 3, classes)
    if not isinstance(content, dict) or content.get("shape") != list(shape):
        raise DatasetError(f"the bootstrap's shape is not {list(shape)}")
    size = 8 * math.prod(shape)
    unzip = zlib.decompressobj()
    try:
        # Bounded: a few kilobytes can unzip to gigabytes. One more byte shows what is too long.
        data = unzip.decompress(base64.b64decode(str(content.get("data")), validate=True), size + 1)
    except (ValueError, zlib.error) as error:
        raise DatasetError(f"the bootstrap's data are damaged, {error}") from error
    if len(data) != size or not unzip.eof:
        raise DatasetError(f"the bootstrap's data are not {size} bytes")
    sums = np.frombuffer(data, "<i8").reshape(shape).astype(np.int64)
    right, there, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    if right.min() < 0 or sums.max() > MAX_COUNT or (right > np.minimum(there, predicted)).any():
        raise DatasetError("the bootstrap's sums do not fit together")
    return sums
