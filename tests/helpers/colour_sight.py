"""How far apart colours are for people with and without red-green colour blindness."""

from __future__ import annotations

import numpy as np

# G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A Physiologically-based Model for Simulation
# of Color Vision Deficiency", IEEE TVCG 15(6), 2009: severity 1.0, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
# IEC 61966-2-1: linear sRGB to CIE XYZ, and its white (D65).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colours: np.ndarray) -> np.ndarray:
    """Linear sRGB 0 to 1 of colours 0 to 255."""
    values = colours / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of linear sRGB 0 to 1 (CIE 15:2004)."""
    xyz = rgb.clip(0, 1) @ XYZ.T / XYZ.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def least_distance(colours: np.ndarray, sight: str) -> float:
    """Of any two colours, CIE 1976, as they are seen."""
    seen = lab(linear(colours) @ np.array(SIGHT[sight]).T)
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    return float(distance[np.triu_indices(len(colours), 1)].min())
