"""A 95 % interval of the mean IoU that holds its estimate and is right for few photos per class.

The middle of the bootstrap's replicates is such an interval only with many photos. With few, whole
classes vanish from replicates: their IoU then drops out of the mean, or counts as 0 where they are
predicted by mistake. The replicates lie to one side of the estimate, and the 95 % in their middle
may exclude it. A class that has a single photo is no better off where it stays, because the
replicates cannot show how much another photo of it would differ.

The interval therefore has three parts, all from the same sums of the bootstrap:

* The spread is that of the mean IoU to first order (the delta method). No class vanishes from it.
* The spread that too few photos hide is added. If the photos of a class have equal areas, n of
  them show 1 - 1/n of their variance. The rest is taken from the classes with more photos, in
  proportion to IoU x (1 - IoU), the largest variance that an IoU can have. Where no class has more
  photos, that largest variance is taken.
* The interval reaches from the estimate to the estimate without its bias. The bias is how far the
  mean of the replicates lies from the estimate, once over all classes and once without those that
  have no true pixel.

The ends are computed on the logit scale, so they stay between 0 and 1.
``tests/tools/interval_coverage.py`` measures how often the interval contains the mean IoU of a
large population of photos; ``docs/evaluate.md`` has its figures.

Source of the delta method and of the bias: Efron and Tibshirani, "An Introduction to the
Bootstrap", Chapman & Hall (1993), chapters 5 and 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.metrics import NO_PIXEL, ious

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Z = 1.959964  # 95 % of a normal distribution lie within this many standard deviations
# With 1000 replicates, 1 / n of a class with one photo is known to about 0.05. A class with n - 1
# below this tells nothing about how its photos vary.
LEAST_FREEDOM = 0.15
EDGE = 1e-3  # means on the logit scale are kept this far from 0 and 1


class Bootstrapped(NamedTuple):
    """The right, true and predicted pixels of each class over the photos of a run.

    Attributes:
        sums: Those of the bootstrap's replicates, int64 replicates x 3 x C.
        whole: Those of the photos, each counted once, int64 3 x C.
    """

    sums: Counts
    whole: Counts


@dataclass(frozen=True)
class Comparison:
    """The difference of two runs a and b over the same photos in mean IoU.

    Attributes:
        difference: The mean IoU of a minus that of b, -1 to 1.
        low: The lower end of the 95 % interval of the difference a - b, -1 to 1.
        high: The upper end of that interval.
        above: The share of the resamples in which a is above b to first order, 0 to 1; a tie is
            not above.
    """

    difference: float
    low: float
    high: float
    above: float


def mean_ious(sums: Counts, *, true_classes: bool = False) -> Values:
    """Return the mean IoU of each replicate, 0 to 1, over the classes in its truth or prediction.

    A replicate without such a class gives nan. This happens with few photos.

    Args:
        sums: The sums, ... x 3 x C.
        true_classes: Whether to leave out the classes that are predicted but not in the truth.
    """
    iou, present = ious(sums)
    averaged = sums[..., 1, :] > 0 if true_classes else present
    number = averaged.sum(axis=-1)
    means = np.full(number.shape, np.nan)
    np.divide((iou * averaged).sum(axis=-1), number, out=means, where=number > 0)
    return means


def interval(run: Bootstrapped) -> tuple[float, float]:
    """Return the 95 % interval of the mean IoU; it contains the mean IoU of ``run.whole``.

    Raises:
        DatasetError: No pixel was counted.
    """
    _, whole = run
    mean = estimate(whole)
    iou, averaged = ious(whole)
    if not 0 < mean < 1:
        return mean, mean
    limit = iou * (1 - iou)
    # As if there were one more class, with photos that are either all right or all wrong.
    guess = float(limit[whole[1] > 0].mean())
    changes = deviations(run)
    seen = changes.sum(axis=1) / averaged.sum()
    hidden = hidden_variance(changes, concentration(run), limit, guess)
    error = math.sqrt(float((seen**2).mean()) + hidden / averaged.sum() ** 2)
    # The step on the logit scale; beyond 50 an end is 0 or 1 anyway.
    step = min(Z * error / (mean * (1 - mean)), 50.0)
    centres = [mean, *(min(max(value, EDGE), 1 - EDGE) for value in unbiased(run))]
    low, high = (math.log(value / (1 - value)) for value in (min(centres), max(centres)))
    return 1 / (1 + math.exp(step - low)), 1 / (1 + math.exp(-step - high))


def compare(a: Bootstrapped, b: Bootstrapped) -> Comparison:
    """Compare two runs over the same photos with the same seed.

    Photos that are easy or hard for both runs do not widen the interval, as the deviations of both
    runs are subtracted in each replicate.

    Raises:
        DatasetError: The runs differ in photos, masks, classes, replicates or seed, or nothing was
            counted.
    """
    (sums_a, whole_a), (sums_b, whole_b) = a, b
    # The true pixels of each replicate depend only on the masks, the names and the seed.
    if sums_a.shape != sums_b.shape or not all(
        map(np.array_equal, (sums_a[:, 1], whole_a[1]), (sums_b[:, 1], whole_b[1]))
    ):
        raise DatasetError(
            "the two runs were not evaluated on the same photos with the same seed; "
            "evaluate both on one list"
        )
    difference = estimate(whole_a) - estimate(whole_b)
    (iou_a, averaged_a), (iou_b, averaged_b) = ious(whole_a), ious(whole_b)
    changes_a, changes_b = deviations(a), deviations(b)
    seen = changes_a.sum(axis=1) / averaged_a.sum() - changes_b.sum(axis=1) / averaged_b.sum()
    # Classes differ from each other at least as much as one photo of each makes them differ.
    guess = float(((iou_a - iou_b)[whole_a[1] > 0] ** 2).mean())
    rare = concentration(a)
    hidden = hidden_variance(changes_a - changes_b, rare, np.ones(len(rare)), guess)
    fewer = min(averaged_a.sum(), averaged_b.sum())
    error = math.sqrt(float((seen**2).mean()) + hidden / fewer**2)
    centres = (difference, *unbiased(a) - unbiased(b))
    low, high = max(min(centres) - Z * error, -1.0), min(max(centres) + Z * error, 1.0)
    return Comparison(difference, low, high, above=float((difference + seen > 0).mean()))


def estimate(whole: Counts) -> float:
    """Return the mean IoU of sums 3 x C.

    Raises:
        DatasetError: No pixel was counted.
    """
    if not whole[1].any():
        raise DatasetError(NO_PIXEL)
    return float(mean_ious(whole))


def deviations(run: Bootstrapped) -> Values:
    """Return the change of each class's IoU in each replicate, to first order, replicates x C."""
    sums, whole = run
    iou, present = ious(whole)
    right, true, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    union = whole[1] + whole[2] - whole[0]
    change = right - iou * (true + predicted - right)
    changes: Values = np.divide(change, union, out=np.zeros(change.shape), where=present)
    return changes


def concentration(run: Bootstrapped) -> Values:
    """Return how far each class rests on a single photo: 1 / n for n photos of equal area, 0 to 1.

    It is the sum of the squared shares of the photos in the true pixels of a class, the inverse of
    Kish's effective sample size. The variance of the Poisson sums is the sum of the squares.
    """
    sums, whole = run
    true = whole[1].astype(np.float64)
    variance = ((sums[:, 1] - true) ** 2).mean(axis=0)
    found: Values = np.divide(variance, true**2, out=np.zeros(len(true)), where=true > 0)
    return found.clip(max=1)


def hidden_variance(changes: Values, rare: Values, limit: Values, guess: float) -> float:
    """Return the variance of the sum of the IoUs that too few photos per class hide.

    If the photos of a class vary by v, its IoU varies by rare x v, and the replicates show
    rare x (1 - rare) x v of that. The ratio of v to ``limit`` is taken to be the same in all
    classes. It is averaged over them and over one more class, whose v is ``guess``. A class counts
    at most once, or the background, which is in all photos and varies little, would decide.

    Args:
        changes: The changes of the IoUs in each replicate, replicates x C.
        rare: The :func:`concentration` of each class, C; 0 for a class that is not in the truth.
        limit: The value to which v is proportional, C.
        guess: The v of a class of which nothing is known.
    """
    freedom = np.divide(1, rare, out=np.ones_like(rare), where=rare > 0) - 1
    told = freedom > LEAST_FREEDOM
    of_image = (changes[:, told] ** 2).mean(axis=0) / rare[told] ** 2 / freedom[told]
    weight = freedom[told].clip(max=1)
    true = rare > 0
    usual = float(limit[true].mean())
    if usual == 0:
        return 0.0
    ratio = float((weight @ of_image + guess) / (weight @ limit[told] + usual))
    return ratio * float((rare[true] ** 2 * limit[true]).sum())


def unbiased(run: Bootstrapped) -> Values:
    """Return the mean IoU without its bias, over all averaged classes and over the true ones."""
    values = []
    for true_classes in (False, True):
        of_all = float(mean_ious(run.whole, true_classes=true_classes))
        of_replicates = mean_ious(run.sums, true_classes=true_classes)
        drawn = of_replicates[~np.isnan(of_replicates)]
        values.append(2 * of_all - float(drawn.mean()) if drawn.size else of_all)
    return np.array(values)
