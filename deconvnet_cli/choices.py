"""Allowed values of options, files and Python calls. Imports nothing heavy, so `--help` is fast."""

from __future__ import annotations

from typing import NamedTuple

NET_NAMES = ("deconvnet-mobilenet", "deconvnet-vgg16", "fcn8s-mobilenet", "fcn8s")
DEFAULT, FCN_DEFAULT = "deconvnet-mobilenet", "fcn8s-mobilenet"  # shipped weights
SYSTEMS = ("deconvnet", "fcn8s", "edeconvnet")
ENSEMBLES = ("mean", "product")  # ensemble rules: how the maps of two nets become one


class MergeRule(NamedTuple):
    """What a merge rule of crops does; ``segmentation.merge.Canvas`` says what comes of it.

    Attributes:
        probabilities: Whether probabilities are merged, or logits.
        adds: Whether the values of crops are added up for their mean, or the greatest one counts.
        whole: Whether the map of the whole photo is kept apart from those of the crops.
    """

    probabilities: bool
    adds: bool
    whole: bool


MERGES = {
    "max": MergeRule(probabilities=False, adds=False, whole=False),
    "max-probability": MergeRule(probabilities=True, adds=False, whole=False),
    "mean-probability": MergeRule(probabilities=True, adds=True, whole=False),
    "context": MergeRule(probabilities=True, adds=True, whole=True),
    "context-max": MergeRule(probabilities=True, adds=False, whole=True),
}
BACKENDS = ("torch", "pydensecrf")  # programs that compute the dense CRF
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MAX_PIXELS = 200_000_000  # of a photo: 0.6 GB as RGB; more is a mistake or a decompression bomb
# Annotations of other tools that become a VOC tree; "auto" looks at what is there.
EXPORT_KINDS = ("auto", "coco", "labelme", "cvat", "roboflow", "yolo", "rgb", "grey", "objects")
# Where the photos of a training run are held; "auto" is the first of the others that they fit.
CACHES = ("auto", "device", "memory", "none")
