"""The loss of a batch: its parts and their weights, by hand for a net of fixed logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from deconvnet_cli.training.losses import Objective
from deconvnet_cli.training.settings import TrainSettings

INPUTS = torch.zeros(1, 3, 1, 1)
LABELS = torch.zeros(1, 1, 1, dtype=torch.int64)
SOFT = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
# Cross entropies of the logits (2, 0) and of the coarse logits (0, 1).
LOG_SUM, COARSE_LOG_SUM = math.log(math.exp(2) + 1), math.log(1 + math.e)
HARD, TAUGHT = LOG_SUM - 2, LOG_SUM - 0.25 * 2
COARSE_HARD, COARSE_TAUGHT = COARSE_LOG_SUM, COARSE_LOG_SUM - 0.75


class Fixed(nn.Module):
    """A net whose only pixel has the logits (2, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 0.0]).view(1, 2, 1, 1))
        self.autocast: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            self.autocast = torch.get_autocast_dtype("cpu")
        return self.logits


class FixedWithCoarse(Fixed):
    """A net that also has the coarse logits (0, 1)."""

    def __init__(self, *, frozen: bool = False) -> None:
        super().__init__()
        coarse = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
        self.coarse = nn.Parameter(coarse, requires_grad=not frozen)

    def forward_with_coarse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self(x), self.coarse

    def coarse_logits(self, x: Tensor) -> Tensor:
        return self.coarse

    def enlarge(self, coarse: Tensor, size: tuple[int, int]) -> Tensor:
        return coarse


def settings(coarse_weight: float = 0.5, teacher_weight: float = 1.0) -> TrainSettings:
    return TrainSettings(
        precision="fp32", coarse_weight=coarse_weight, teacher_weight=teacher_weight
    )


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_the_teachers_loss_is_weighted_and_added(weight: float) -> None:
    objective = Objective(Fixed(), settings(teacher_weight=weight))
    assert objective(INPUTS, LABELS).item() == pytest.approx(HARD, rel=1e-5)
    assert objective(INPUTS, LABELS, SOFT).item() == pytest.approx(HARD + weight * TAUGHT, rel=1e-5)


def test_coarse_logits_have_the_same_losses_at_their_own_weight() -> None:
    objective = Objective(FixedWithCoarse(), settings(coarse_weight=0.5, teacher_weight=2.0))
    assert objective(INPUTS, LABELS).item() == pytest.approx(HARD + 0.5 * COARSE_HARD, rel=1e-5)
    fine, coarse = HARD + 2 * TAUGHT, COARSE_HARD + 2 * COARSE_TAUGHT
    assert objective(INPUTS, LABELS, SOFT).item() == pytest.approx(fine + 0.5 * coarse, rel=1e-5)


def test_coarse_logits_that_cannot_learn_add_no_loss() -> None:
    """With encoder and head frozen."""
    objective = Objective(FixedWithCoarse(frozen=True), settings())
    assert objective(INPUTS, LABELS).item() == pytest.approx(HARD, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_net_runs_in_the_precision_that_was_chosen(precision: str) -> None:
    net = Fixed()
    loss = Objective(net, TrainSettings(precision=precision))(INPUTS, LABELS)
    assert net.autocast == (torch.bfloat16 if precision == "bf16" else None)
    assert loss.dtype == torch.float32
