"""OpenCV, or an error that says how to install it. Other modules import ``cv2`` from here."""

from __future__ import annotations

from typing import Any

from deconvnet_cli.errors import DependencyError

try:
    import cv2 as cv2
except Exception as error:  # where two packages of OpenCV are mixed, also AttributeError and others
    raise DependencyError(
        f"OpenCV cannot be loaded ({error}): pip install --force-reinstall opencv-contrib-python; "
        "if libGL is missing, install it (Debian, Ubuntu: apt-get install libgl1)"
    ) from error


def require_ximgproc() -> Any:
    """Return the module ``cv2.ximgproc``.

    Raises:
        DependencyError: A plain ``opencv-python`` shadows ``opencv-contrib-python``.
    """
    module = getattr(cv2, "ximgproc", None)
    if not hasattr(module, "createEdgeBoxes"):
        raise DependencyError(
            "cv2.ximgproc is missing, another OpenCV package shadows opencv-contrib-python: "
            "pip uninstall opencv-python opencv-python-headless && "
            "pip install --force-reinstall opencv-contrib-python"
        )
    return module
