"""DeconvNet semantic segmentation (Noh, Hong, Han, ICCV 2015) from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deconvnet_cli.api import SegmentationResult, Segmenter

__version__ = "0.1.0"
__all__ = ["SegmentationResult", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    # On demand: the command line imports this package, and answers --help without torch.
    if name in __all__:
        from deconvnet_cli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
