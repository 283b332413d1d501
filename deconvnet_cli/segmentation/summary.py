"""The summary of a segmented photo for JSON lines and the server."""

from __future__ import annotations

from typing import Any

from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.segment import Segmentation


def summarise(result: Segmentation, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return a result as plain values.

    Returns:
        ``classes``: the share of the pixels, 0 to 1, of each class that occurs, the largest first;
        ``confidence``: the mean probability, 0 to 1, of each label over its pixels, in the same
        order; ``proposals``: the number of boxes segmented; ``ms``: the milliseconds of each stage.
    """
    shares = class_shares(result.labels, classes)
    confidence = {classes[label]: round(mean, 4) for label, mean in result.confidence.items()}
    return {
        "classes": shares,
        "confidence": {name: confidence[name] for name in shares if name in confidence},
        "proposals": result.proposals,
        "ms": result.ms,
    }
