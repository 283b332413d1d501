"""What is said about a segmented photo wherever it is said: JSON lines, the server."""

from __future__ import annotations

from typing import Any

from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.segment import Segmentation


def summarise(result: Segmentation, classes: tuple[str, ...]) -> dict[str, Any]:
    """A result as plain values.

    Returns:
        ``classes``: share of the pixels, 0 to 1, of each class that is there, the largest first;
        ``confidence``: the mean probability, 0 to 1, of each label over its pixels, in the same
        order; ``proposals``: how many boxes were segmented; ``ms``: milliseconds by stage.
    """
    shares = class_shares(result.labels, classes)
    sure = {classes[label]: round(mean, 4) for label, mean in result.confidence.items()}
    return {
        "classes": shares,
        "confidence": {name: sure[name] for name in shares if name in sure},
        "proposals": result.proposals,
        "ms": result.ms,
    }
