"""``deconvnet export``: a net as an ONNX file, for other runtimes."""

from __future__ import annotations

import re
from pathlib import Path

import click

from deconvnet_cli.commands.shared.grouped_help import argument, option
from deconvnet_cli.commands.shared.options import weights_names
from deconvnet_cli.commands.shared.output_options import output_file
from deconvnet_cli.errors import OutputError
from deconvnet_cli.storage.files import refuse_overwriting

LEAST_EQUAL = 0.999  # as a share of the logits


class Size(click.ParamType[tuple[int, int]]):
    """The type of an option that takes ``N`` or ``WIDTHxHEIGHT``."""

    name = "N|WIDTHxHEIGHT"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", value)
        if not found:
            self.fail(f"{value!r} is neither a number of pixels nor WIDTHxHEIGHT", param, ctx)
        return int(found[1]), int(found[2] or found[1])


@click.command("export")
@argument("net", metavar="NAME|FILE", shell_complete=weights_names)
@output_file("ONNX file to write.", "onnx", "the net is")
@option(
    "--size",
    type=Size(),
    help="Size of the input in pixels.  [default: the size of the net's crops]",
)
@option(
    "--dynamic",
    is_flag=True,
    help="Leave the height and width of the input open too; the batch always is.",
)
def command(net: str, output: Path, size: tuple[int, int] | None, dynamic: bool) -> None:
    """Write shipped weights or a weights file as an ONNX model for other runtimes (extra onnx). Its
    metadata have the classes, the input convention, the licence and the origin as JSON. Before it
    is written, it is run in onnxruntime and compared with torch.
    """
    from deconvnet_cli.exporting.onnx_model import TOLERANCE, onnx_model, share_of_equal_logits
    from deconvnet_cli.exporting.shape import input_shape
    from deconvnet_cli.reporting import console
    from deconvnet_cli.storage.files import write_whole
    from deconvnet_cli.weights.files import load

    weights = load(net)
    refuse_overwriting(weights.path, output, "the weights to export")
    shape = input_shape(weights.card, size, dynamic)
    model = onnx_model(weights, shape)
    equal = share_of_equal_logits(model, weights, shape)
    if equal < LEAST_EQUAL:
        raise OutputError(
            f"{output}: not written, since only {equal:.2%} of its logits are torch's; "
            "try other versions of torch, onnxscript and onnxruntime"
        )
    write_whole(output, model)
    console.result(
        f"{output}: {weights.card.net}, {shape}, {len(model) / 1e6:.1f} MB; "
        f"{100 * equal:.6g} % of the logits are torch's within {TOLERANCE:g}"
    )
