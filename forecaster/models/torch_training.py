"""Training of the network in torch; the only module that imports it, in the worker process.

network.py holds the same arithmetic in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from forecaster.model import QUANTILE_GRID
from forecaster.models.features import CHANNELS, TRAITS, width
from forecaster.models.network import MIDDLE, MOST_STRETCH, OUTPUTS

_LSTM_SIZE, _HIDDEN = 32, 96
_BATCH, _RATE, _DECAY = 64, 5e-4, 0.02
_LOOK, _PATIENCE, _LEAST_GAIN = 10, 5, 0.03
_SEED = 20


@dataclass(frozen=True)
class Lesson:
    """Windows to learn from: Inputs, what came, float32."""

    sequence: NDArray[np.float32]
    traits: NDArray[np.float32]
    steps: NDArray[np.float32]
    stack: NDArray[np.float32]
    came: NDArray[np.float32]  # [W, L], NaN where unknown
    held: NDArray[np.bool_]  # [W], those that only tell when to stop


class _Network(nn.Module):
    def __init__(self, step_features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, _LSTM_SIZE, batch_first=True)
        self.series = nn.Linear(_LSTM_SIZE + TRAITS, _HIDDEN)
        self.step = nn.Linear(step_features, _HIDDEN)
        self.residual = nn.Linear(_HIDDEN, _HIDDEN)
        self.head = nn.Linear(_HIDDEN, OUTPUTS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(0.1)

    def forward(
        self,
        sequence: torch.Tensor,
        traits: torch.Tensor,
        steps: torch.Tensor,
        stack: torch.Tensor,
        width: torch.Tensor,
    ) -> torch.Tensor:
        state = self.lstm(sequence)[1][0][-1]
        series = self.series(torch.cat([state, traits], -1))
        hidden = nn.functional.gelu(self.step(steps) + series[:, None], approximate="tanh")
        hidden = hidden + nn.functional.gelu(self.residual(self.dropout(hidden)), approximate="tanh")
        out = self.head(self.dropout(hidden))
        median = stack[..., MIDDLE : MIDDLE + 1] + out[..., :1] * width
        gaps = stack.diff(dim=-1) * torch.exp(MOST_STRETCH * torch.tanh(out[..., 1:]))
        below = -gaps[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
        above = gaps[..., MIDDLE:].cumsum(-1)
        quantiles: torch.Tensor = torch.cat([below, torch.zeros_like(median), above], -1) + median
        return quantiles


def train(lesson: Lesson, batches: int) -> dict[str, NDArray[np.float32]] | None:
    """Parameters by name after at most `batches` steps of AdamW, stopped when the held windows gain no more.

    None when they gain less than 3 % over the stack: then it is better left alone. Deterministic; one thread.
    """
    threads = torch.get_num_threads()
    # More threads than free cores spin at barriers: measured 23 times slower under load.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return _trained(lesson, batches)
    finally:
        torch.set_num_threads(threads)


def _trained(lesson: Lesson, batches: int) -> dict[str, NDArray[np.float32]] | None:
    given = (lesson.sequence, lesson.traits, lesson.steps, lesson.stack, width(lesson.stack), lesson.came)
    tensors = [torch.from_numpy(part) for part in given]
    network = _Network(lesson.steps.shape[-1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    train, held = torch.from_numpy(np.flatnonzero(~lesson.held)), torch.from_numpy(np.flatnonzero(lesson.held))
    untrained = least = _held_loss(network, tensors, held)
    best: dict[str, NDArray[np.float32]] = {}
    waited = 0
    for batch in range(1, batches + 1):
        rows = train[torch.randint(len(train), (min(_BATCH, len(train)),))]
        optimizer.zero_grad()
        _loss(network, tensors, rows).backward()  # type: ignore[no-untyped-call]  # torch's own
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if batch % _LOOK == 0:
            loss = _held_loss(network, tensors, held)
            waited += 1
            if loss < least:
                best, least, waited = _copy(network), loss, 0
            if waited >= _PATIENCE:
                break
    return best if least < (1 - _LEAST_GAIN) * untrained else None


def _loss(network: _Network, tensors: list[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Pinball loss in widths of the stack's band: an hour ahead counts as much as a day, quiet series as wild ones."""
    *given, came = (tensor[rows] for tensor in tensors)
    seen = ~came.isnan()
    levels = torch.from_numpy(QUANTILE_GRID.astype(np.float32))
    gap = came.nan_to_num()[..., None] - network(*given)
    loss = torch.maximum(levels * gap, (levels - 1) * gap).mean(-1) / given[-1][..., 0]
    return (loss * seen).sum() / seen.sum().clamp(min=1)


def _held_loss(network: _Network, tensors: list[torch.Tensor], held: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad():
        loss = float(_loss(network, tensors, held))
    network.train()
    return loss


def _copy(network: _Network) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}
