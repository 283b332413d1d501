"""Photos of a made-up population, as counts by class, to see how an interval fares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
CLASSES = 21
# The mean share of an object's pixels that is found: background first, then easy to hard.
FOUND = np.concatenate([[0.97], np.linspace(0.97, 0.55, CLASSES - 1)])


def confusions(main: list[int], rng: np.random.Generator, skill: float = 1.0) -> Counts:
    """Return the confusion matrix of one photo for each class in ``main``, N x C x C.

    A photo has an object of that class, in a third of the photos a second one, and background. What
    is missed of an object goes to the background or, in 30 %, to any class.

    Args:
        main: The class of each photo's object, 1 to 20.
        rng: The source of chance. It is used in the same order whatever ``skill`` is.
        skill: The missed share is divided by this.
    """
    matrices = np.zeros((len(main), CLASSES, CLASSES), np.int64)
    for matrix, label in zip(matrices, main, strict=True):
        objects = [label]
        if rng.random() < 0.35:
            objects.append(int(rng.integers(1, CLASSES)))
        rest = 180_000
        for thing in objects:
            area = int(min(80_000, rng.lognormal(9.8, 1.0)))
            missed = int(area * rng.beta(3 * (1 - FOUND[thing]), 3 * FOUND[thing]) / skill)
            to = int(rng.integers(1, CLASSES)) if rng.random() < 0.3 else 0
            matrix[thing, thing] += area - missed
            matrix[thing, to] += missed
            rest -= area
        spilt = int(rest * rng.beta(1, 30) / skill)
        matrix[0, 0] += rest - spilt
        matrix[0, label] += spilt - spilt // 5
        matrix[0, int(rng.integers(1, CLASSES))] += spilt // 5
    return matrices
