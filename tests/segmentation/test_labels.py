"""Which label wins, against numpy."""

import numpy as np
import pytest
import torch

from deconvnet_cli.segmentation.labels import labels_of


@pytest.mark.parametrize("classes", [2, 21, 255])
def test_the_label_is_the_greatest_score_and_the_first_of_equals(classes):
    torch.manual_seed(classes)
    scores = torch.randn(classes, 19, 7)
    ties = (scores * 2).round()
    assert len(np.unique(ties.numpy())) < 20
    for maps in (scores, ties, scores.permute(0, 2, 1)):
        found = labels_of(maps)
        assert found.dtype == np.uint8
        assert np.array_equal(found, maps.numpy().argmax(0))


def test_a_pixel_that_is_no_number_has_a_label_that_exists():
    scores = torch.tensor([[[1.0, 0.0, 3.0]], [[float("nan"), 1.0, 0.0]], [[0.0, 0.0, 0.0]]])
    assert labels_of(scores).tolist() == [[0, 1, 0]]
