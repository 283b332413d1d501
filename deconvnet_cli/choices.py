"""Names that options, files and Python calls choose from; without torch, so that help is quick."""

from __future__ import annotations

NET_NAMES = ("deconvnet-mobilenet", "deconvnet-vgg16", "fcn8s-mobilenet", "fcn8s")
DEFAULT, FCN_DEFAULT = "deconvnet-mobilenet", "fcn8s-mobilenet"  # shipped weights
SYSTEMS = ("deconvnet", "fcn8s", "edeconvnet")
ENSEMBLES = ("mean", "product")  # rules by which the maps of two nets become one
MERGES = ("max", "max-probability", "mean-probability", "context")  # of overlapping crops
BACKENDS = ("torch", "pydensecrf")  # that compute the dense CRF
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
