"""The VOC devkit reader: its palette, and a tree by either of its folders."""

import numpy as np

from deconvnet_cli.data.voc import open_tree, palette


def test_palette_is_vocs():
    # From the VOC 2012 development kit's documentation.
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {label: tuple(palette()[label]) for label in known} == known
    assert tuple(palette()[255]) == (224, 224, 192)
    assert len(np.unique(palette(), axis=0)) == 256


def test_either_folder_will_do(voc):
    assert open_tree(voc).root == open_tree(voc.parent).root == voc
