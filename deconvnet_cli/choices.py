"""Allowed values of options, files and Python calls. Imports nothing heavy, so `--help` is fast."""

from __future__ import annotations

NET_NAMES = ("deconvnet-mobilenet", "deconvnet-vgg16", "fcn8s-mobilenet", "fcn8s")
DEFAULT, FCN_DEFAULT = "deconvnet-mobilenet", "fcn8s-mobilenet"  # shipped weights
SYSTEMS = ("deconvnet", "fcn8s", "edeconvnet")
ENSEMBLES = ("mean", "product")  # ensemble rules: how the maps of two nets become one
# Merge rules of crops.
MERGES = ("max", "max-probability", "mean-probability", "context", "context-max")
BACKENDS = ("torch", "pydensecrf")  # programs that compute the dense CRF
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MAX_PIXELS = 200_000_000  # of a photo: 0.6 GB as RGB; more is a mistake or a decompression bomb
# Annotations of other tools that become a VOC tree; "auto" looks at what is there.
EXPORT_KINDS = ("auto", "coco", "labelme", "cvat", "roboflow", "rgb", "grey")
# Where the photos of a training run are held; "auto" is the first of the others that they fit.
CACHES = ("auto", "device", "memory", "none")
