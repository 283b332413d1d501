"""Estimate how a mean IoU varies with the choice of photos, by a Poisson bootstrap.

An ordinary bootstrap draws N of the N photos with replacement, many times. The counts of the
photos in a replicate are then multinomial, and all photos must be at hand to draw from. Here each
photo draws its own count from Poisson(1), the limit of that multinomial for large N, independent of
the other photos and of N. A replicate is therefore a sum that grows photo by photo: memory does not
depend on the number of photos, and the sums of shards add up to those of the whole.

The count depends only on the seed and the photo's name. Two runs over the same photos are therefore
weighted alike in each replicate, and their difference is paired: photos that are easy or hard for
both runs do not widen it.

Sources: Hanley and MacGibbon, "Creating non-parametric bootstrap samples using Poisson
frequencies", Computer Methods and Programs in Biomedicine 83 (2006); Chamandy et al.,
"Estimating Uncertainty for Massive Data Streams", Google technical report (2012).

The sums are int64, replicates x 3 x C: right pixels, true pixels and predicted pixels of each
class. An IoU needs no more; for Boundary IoU, they are those of the boundary regions.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError

MAX_REPLICATES = 10_000  # 61 MB with 255 classes: no file can ask for more memory
MAX_COUNT = 2**53  # pixels in a file: sums of such counts stay below 2**63
# Poisson(1) up to 12. Only one draw in 10^10 would be larger, beyond the resolution of 32 bits.
_BELOW = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(13)])[:-1]


def image_weights(name: str, replicates: int, seed: int) -> NDArray[np.int64]:
    """Return how often a photo counts in each replicate: Poisson(1) draws, 0 to 12.

    The draws come from the bits of a hash, not from a random generator whose stream may change
    with its version. They are therefore equal on all machines. Fewer replicates are a prefix of
    more.
    """
    # Names may come from a file system, whose bytes need not be UTF-8.
    key = f"{seed}/{name}".encode("utf-8", "surrogateescape")
    bits = np.frombuffer(hashlib.shake_256(key).digest(4 * replicates), "<u4")
    return np.searchsorted(_BELOW, bits / 2**32, side="right").astype(np.int64)


def contribution(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the right, true and predicted pixels of one photo by class, 3 x C.

    Args:
        confusion: The confusion matrix of the photo, C x C, rows the truth, columns the prediction.
    """
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def packed(sums: NDArray[np.int64]) -> dict[str, object]:
    """Return sums for ``json.dumps``: shape, and base64 of zlib of little-endian int64."""
    data = zlib.compress(sums.astype("<i8").tobytes())
    return {"shape": list(sums.shape), "data": base64.b64encode(data).decode("ascii")}


def unpacked(content: object, replicates: int, classes: int) -> NDArray[np.int64]:
    """Return the sums that :func:`packed` was given.

    Args:
        content: The value that ``json.loads`` returned for them.

    Raises:
        DatasetError: The content is malformed, of another shape, or impossible for any photos.
    """
    shape = (replicates, 3, classes)
    if not isinstance(content, dict) or content.get("shape") != list(shape):
        raise DatasetError(f"the bootstrap's shape is not {list(shape)}")
    size = 8 * math.prod(shape)
    unzip = zlib.decompressobj()
    try:
        # The size is bounded, because a few kilobytes can unzip to gigabytes. One byte more than
        # allowed shows that the data are too long.
        data = unzip.decompress(base64.b64decode(str(content.get("data")), validate=True), size + 1)
    except (ValueError, zlib.error) as error:
        raise DatasetError(f"the bootstrap's data are damaged, {error}") from error
    if len(data) != size or not unzip.eof:
        raise DatasetError(f"the bootstrap's data are not {size} bytes")
    sums = np.frombuffer(data, "<i8").reshape(shape).astype(np.int64)
    right, true, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    if right.min() < 0 or sums.max() > MAX_COUNT or (right > np.minimum(true, predicted)).any():
        raise DatasetError("the bootstrap's sums do not fit together")
    return sums
