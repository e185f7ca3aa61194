"""Training of a network in torch; the only module that imports it, in a worker process.

network.py holds the same arithmetic in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from forecaster.model import QUANTILE_GRID
from forecaster.models.features import CHANNELS, MIDDLE, TRAITS
from forecaster.models.lesson import MOST_WEIGHT, Lesson
from forecaster.models.network import GAPS, LEAST_GAP, LEAST_PRIOR, MOST_ANCHOR, MOST_STRETCH, Parameters

ENCODED, HIDDEN, DROPOUT = 32, 128, 0.2
BATCH, DECAY = 128, 0.05


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn: AdamW, one cycle (Smith & Topin, 2018) up to `rate`."""

    batches: int
    rate: float
    seed: int = 0


class Network(nn.Module):
    """As network.py says; `forward` gives quantiles [W, L, level of QUANTILE_GRID]."""

    def __init__(self, step_features: int, members: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, ENCODED, batch_first=True)
        self.series = nn.Linear(ENCODED + TRAITS, HIDDEN)
        self.step = nn.Linear(step_features, HIDDEN)
        self.residual = nn.Linear(HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, members + 1 + GAPS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(DROPOUT)
        self.members = members

    def forward(
        self,
        sequence: torch.Tensor,
        traits: torch.Tensor,
        steps: torch.Tensor,
        stack: torch.Tensor,
        width: torch.Tensor,
        anchors: torch.Tensor,
        prior: torch.Tensor,
    ) -> torch.Tensor:
        state = self.lstm(sequence)[1][0][-1]
        series = self.series(self.dropout(torch.cat([state, traits], -1)))
        hidden = nn.functional.gelu(self.step(steps) + series[:, None], approximate="tanh")
        hidden = hidden + nn.functional.gelu(self.residual(self.dropout(hidden)), approximate="tanh")
        out = self.head(self.dropout(hidden))
        shares = torch.softmax(torch.log(prior + LEAST_PRIOR) + out[..., : self.members], -1)
        heard = (shares * anchors.clamp(-MOST_ANCHOR, MOST_ANCHOR)).sum(-1, keepdim=True)
        shift, stretch = out[..., self.members : self.members + 1], out[..., self.members + 1 :]
        median = stack[..., MIDDLE : MIDDLE + 1] + width * (heard + shift)
        gaps = stack.diff(dim=-1) + LEAST_GAP * width
        gaps = gaps * torch.exp(MOST_STRETCH * torch.tanh(stretch / MOST_STRETCH))
        below = -gaps[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
        above = gaps[..., MIDDLE:].cumsum(-1)
        quantiles: torch.Tensor = torch.cat([below, torch.zeros_like(median), above], -1) + median
        return quantiles


def train(lesson: Lesson, plan: Plan, begin: Parameters | None = None) -> dict[str, NDArray[np.float32]]:
    """Parameters by name after `plan`, from `begin` or from a network that is the stack. Deterministic; one thread."""
    threads = torch.get_num_threads()
    # More threads than free cores spin at barriers: measured 23 times slower under load.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            return _trained(lesson, plan, begin)
    finally:
        torch.set_num_threads(threads)


def _trained(lesson: Lesson, plan: Plan, begin: Parameters | None) -> dict[str, NDArray[np.float32]]:
    given = [torch.from_numpy(part) for part in lesson.given()]
    came, weight, odds = (torch.from_numpy(part) for part in (lesson.came, lesson.weight, lesson.odds))
    network = Network(lesson.steps.shape[-1], lesson.prior.shape[-1])
    if begin is not None:
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in begin.items()})
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, plan.batches, pct_start=0.15)
    for _ in range(plan.batches):
        rows = torch.multinomial(odds, BATCH, replacement=True)
        loss = _loss(network(*(part[rows] for part in given)), came[rows], weight[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def _loss(quantiles: torch.Tensor, came: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Pinball loss, each window in units of its own change from day to day: quiet series count as much as wild ones."""
    seen = ~came.isnan()
    levels = torch.from_numpy(QUANTILE_GRID.astype(np.float32))
    gap = came.nan_to_num()[..., None] - quantiles
    loss = torch.maximum(levels * gap, (levels - 1) * gap).mean(-1) * weight[:, None].clamp(max=MOST_WEIGHT)
    return (loss * seen).sum() / seen.sum().clamp(min=1)
