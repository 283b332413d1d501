"""A net as an ONNX model: float32, prepared to predict, with its card in the metadata."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import Dim

from deconvnet_cli.exporting.plain_ops import with_plain_operators
from deconvnet_cli.exporting.shape import InputShape
from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.runtime.packages import require_packages
from deconvnet_cli.weights.card import METADATA_KEY, plain_values
from deconvnet_cli.weights.files import Weights
from deconvnet_cli.weights.shipped import weights_sha256

if TYPE_CHECKING:
    import onnx

OPSET = 18
INPUT, OUTPUT = "input", "logits"
TOLERANCE = 1e-3  # of a logit
SEED = 22


def onnx_model(weights: Weights, shape: InputShape) -> bytes:
    """Return the ONNX model of a net.

    The input is N x 3 x height x width, float32, prepared by the card's input convention; the
    output is the logits, N x classes x height x width. The metadata have the card as JSON. The
    net stays as it was loaded.

    Raises:
        DependencyError: The packages of the extra are missing.
    """
    require_packages("export", "onnx", "onnx", "onnxscript", "onnxruntime")
    pixels = torch.zeros(2, 3, shape.height, shape.width)
    with quiet():
        program = torch.export.export(
            fused(weights.net), (pixels,), dynamic_shapes=(free_sides(shape),)
        )
        exported = torch.onnx.export(
            with_plain_operators(program),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    if exported is None:
        raise RuntimeError("torch exported nothing")
    model = exported.model_proto
    tidy(model)
    about = {
        **plain_values(shape.on_card(weights.card)),
        "weights": weights.path.name,
        "sha256": weights_sha256(weights.path),
    }
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(about))
    content: bytes = model.SerializeToString()
    return content


def free_sides(shape: InputShape) -> dict[int, Any]:
    """Return the free dimensions of the input, as ``torch.export`` takes them."""
    free: dict[int, Any] = {0: Dim("batch")}
    if shape.dynamic and shape.stride == 1:
        free |= {2: Dim.AUTO, 3: Dim.AUTO}
    elif shape.dynamic:
        free |= {2: shape.stride * Dim("rows"), 3: shape.stride * Dim("columns")}
    return free


def tidy(model: onnx.ModelProto) -> None:
    """Name the free dimensions, and remove the paths and lines of code of each node."""
    graph = model.graph
    names = ("batch", "channels", "height", "width")
    for value in (*graph.input, *graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if dimension.dim_param:
                dimension.dim_param = name
    del graph.value_info[:]  # these use the names of before
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def share_of_equal_logits(model: bytes, weights: Weights, shape: InputShape) -> float:
    """Return the share of the logits of a random crop that onnxruntime and torch agree in.

    Not all are equal: if two values of a window differ by less than rounding does, its switch
    differs, and with it the pixels around it.
    """
    import onnxruntime

    generator = torch.Generator().manual_seed(SEED)
    size = (1, 3, shape.height, shape.width)
    crop = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    pixels = weights.card.input.prepare(crop)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: pixels.numpy()})
    with torch.inference_mode():
        expected = weights.net(pixels).numpy()
    return float(np.mean(np.abs(found - expected) <= TOLERANCE))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's messages, which concern no user, off standard error."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
