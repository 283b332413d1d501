"""Measure how often the interval of the mean IoU contains the mean IoU of a whole population.

    python -m tools.interval_coverage [REPEATS]        # in tests/, with the tree on PYTHONPATH

Photos are drawn from a made-up population, some per class or at random. The columns are: how often
the interval contains the value of the population, how often it contains its own estimate, and its
mean width; first of the interval that `evaluate` prints, then of the middle 95 % of the replicates
(as before), and then the coverage of the interval of `--compare` for two runs over these photos.
"""

from __future__ import annotations

import sys

import numpy as np
from helpers.synthetic_photos import CLASSES, Counts, confusions

from deconvnet_cli.evaluation.bootstrap import contribution
from deconvnet_cli.evaluation.intervals import (
    Bootstrapped,
    compare,
    estimate,
    interval,
    ious,
    mean_ious,
)

POPULATION = 30_000
DESIGNS = {
    **{f"{number} per class": number for number in (1, 2, 4, 12)},
    **{f"{number} at random": -number for number in (19, 60, 248)},
}


def draw(design: int, rng: np.random.Generator) -> list[int]:
    """Return the class of each photo: ``design`` of each, or if below 0 so many at random."""
    if design > 0:
        return [*range(1, CLASSES)] * design
    return [int(label) for label in rng.integers(1, CLASSES, -design)]


def bootstrap(parts: Counts, weights: Counts) -> Counts:
    """Return the sums of the replicates: weights B x N, parts N x 3 x C."""
    flat = weights @ parts.reshape(len(parts), -1)
    return flat.reshape(-1, *parts.shape[1:])


def middle(values: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 % of the replicates, the interval of earlier versions."""
    low, high = np.quantile(values[~np.isnan(values)], [0.025, 0.975])
    return float(low), float(high)


def runs(main: list[int], seed: int) -> tuple[Counts, Counts]:
    """Return what two nets of different skill give for the same photos, N x 3 x C each."""
    first, second = (
        np.stack([*map(contribution, confusions(main, np.random.default_rng(seed), skill))])
        for skill in (1.0, 1.2)
    )
    return first, second


def measure(design: int, repeats: int, rng: np.random.Generator, truth: Counts) -> list[float]:
    """Return the columns for one design; ``truth`` has the population's IoUs of both nets."""
    found = np.zeros((repeats, 7))
    for row in found:
        parts, others = runs(draw(design, rng), int(rng.integers(2**60)))
        weights = rng.poisson(1, (1000, len(parts)))
        run, other = (
            Bootstrapped(bootstrap(each, weights), each.sum(axis=0)) for each in (parts, others)
        )
        mean, expected = estimate(run.whole), truth[0][ious(run.whole)[1]].mean()
        for column, (low, high) in ((0, interval(run)), (3, middle(mean_ious(run.sums)))):
            row[column : column + 3] = low <= expected <= high, low <= mean <= high, high - low
        paired = compare(run, other)
        row[6] = paired.low <= expected - truth[1][ious(other.whole)[1]].mean() <= paired.high
    return found.mean(axis=0).tolist()


def main() -> None:
    """Print the table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng = np.random.default_rng(1)
    population = runs(draw(-POPULATION, rng), 2)
    truth = np.stack([ious(parts.sum(axis=0))[0] for parts in population])
    print(f"population: mean IoU {truth[0].mean():.3f} and {truth[1].mean():.3f}")
    print(f"{'photos':14s} covers holds width | before: covers holds width | --compare covers")
    for name, design in DESIGNS.items():
        count = repeats if abs(design) < 100 else repeats // 4
        values = " ".join(f"{value:6.3f}" for value in measure(design, max(count, 1), rng, truth))
        print(f"{name:14s} {values}", flush=True)


if __name__ == "__main__":
    main()
