"""Scores against a count by hand, and against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.metrics import confusion, metrics_of


def labels(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


TRUTH = labels([[0, 0, 1], [1, 1, 255]])
PREDICTION = labels([[0, 1, 1], [1, 2, 2]])


def test_confusion_by_hand() -> None:
    # The last pixel is void: its predicted 2 counts nowhere.
    assert confusion(TRUTH, PREDICTION, classes=4).tolist() == [
        [1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0],
    ]  # fmt: skip


def test_scores_by_hand() -> None:
    result = metrics_of(confusion(TRUTH, PREDICTION, classes=4))
    # 0: 1 of 2; 1: 2 of 4; 2: predicted once, not in the truth: 0; 3: nowhere, left out.
    assert result.iou == (0.5, 0.5, 0.0, None)
    assert result.averaged == 3
    assert result.mean_iou == pytest.approx(1 / 3)
    assert result.pixel_accuracy == pytest.approx(3 / 5)
    # In the truth are 0 (1 of 2 right) and 1 (2 of 3 right); 2 is only predicted.
    assert result.mean_accuracy == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.frequency_weighted_iou == pytest.approx(2 / 5 * 0.5 + 3 / 5 * 0.5)


def test_matches_torchmetrics_on_random_maps() -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    generator = np.random.default_rng(3)
    # Low labels more often: weighted and plain means differ.
    truth = (21 * generator.random((4, 40, 50)) ** 2).astype(np.uint8)
    prediction = np.where(
        generator.random(truth.shape) < 0.6, truth, generator.integers(0, 21, truth.shape)
    ).astype(np.uint8)
    truth[generator.random(truth.shape) < 0.1] = 255
    prediction[prediction == 255] = 0
    ours = metrics_of(
        np.sum([confusion(t, p) for t, p in zip(truth, prediction, strict=True)], axis=0)
    )

    theirs = classification.MulticlassJaccardIndex(21, average="none", ignore_index=255)
    expected = theirs(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    assert ours.iou == pytest.approx(expected.tolist(), abs=1e-6)
    assert ours.mean_iou == pytest.approx(expected.mean().item(), abs=1e-6)

    for metric, value in (
        (
            classification.MulticlassAccuracy(21, average="micro", ignore_index=255),
            ours.pixel_accuracy,
        ),
        (
            classification.MulticlassAccuracy(21, average="macro", ignore_index=255),
            ours.mean_accuracy,
        ),
        (
            classification.MulticlassJaccardIndex(21, average="weighted", ignore_index=255),
            ours.frequency_weighted_iou,
        ),
    ):
        other = metric(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
        assert value == pytest.approx(other.item(), abs=1e-6)


def test_many_classes_do_not_wrap_around() -> None:
    # 200 * 255 + 200 does not fit in 8 bits.
    map_ = np.full((2, 2), 200, dtype=np.uint8)
    assert confusion(map_, map_, classes=255)[200, 200] == 4


def test_sizes_must_agree() -> None:
    with pytest.raises(DatasetError, match="3x2 and 2x3"):
        confusion(TRUTH, TRUTH.T.copy(), classes=4)


def test_only_plain_maps_are_counted() -> None:
    pile = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(DatasetError, match="4x3x2 and 4x3x2"):
        confusion(pile, pile)


@pytest.mark.parametrize("name", ["truth", "prediction"])
def test_label_out_of_range(name: str) -> None:
    good, bad = labels([[0]]), labels([[21]])
    pair = (bad, good) if name == "truth" else (good, bad)
    with pytest.raises(DatasetError, match=f"label 21 in the {name}"):
        confusion(*pair)


def test_void_is_no_prediction_where_the_truth_is_known() -> None:
    with pytest.raises(DatasetError, match="label 255 in the prediction"):
        confusion(labels([[1]]), labels([[255]]))
    assert confusion(labels([[255, 1]]), labels([[255, 1]])).sum() == 1


def test_nothing_to_score() -> None:
    with pytest.raises(DatasetError, match="no pixel"):
        metrics_of(confusion(labels([[255]]), labels([[3]])))
