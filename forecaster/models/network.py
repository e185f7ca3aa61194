"""The networks, forward only and in numpy, so that the serving process needs no torch.

An encoder reads the last week; its state and the traits of the series join the features of each lead, pointwise. The
answer is a correction of the stack: weights of its members are shifted, its median is moved and the gaps between its
quantiles are stretched, so that they never cross. With the last layer at zero it is the stack's band around the mix
of its members.

torch_training.py holds the same arithmetic for training; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.model import QUANTILE_GRID
from forecaster.models.features import MIDDLE, Basis, Inputs

Parameters = Mapping[str, NDArray[np.float32]]
Floats = NDArray[np.floating[Any]]

GAPS = len(QUANTILE_GRID) - 1
LEAST_PRIOR, LEAST_GAP, MOST_STRETCH, MOST_ANCHOR = 1e-5, 0.004, 2.0, 30.0
"""A member without weight can still be called in; a band of no width can open; e^2 at most is stretched; and how far
off, in widths, a member is heard."""


@dataclass(frozen=True)
class Correction:
    """What a network changes in the stack, of W series at L leads."""

    shares: Floats  # [W, L, member], sum 1
    shift: Floats  # [W, L, 1], in widths
    stretch: Floats  # [W, L, GAPS], factors

    def at(self, weights: NDArray[np.float32]) -> Correction:
        """Read off between leads: `weights` is [lead, asked lead], each row sums to 1 (`lstm.sampled`)."""
        return Correction(*(np.matmul(weights, part) for part in (self.shares, self.shift, self.stretch)))

    def apply(self, basis: Basis) -> Floats:
        """[W, L, level of QUANTILE_GRID], in units of the scale."""
        heard = np.einsum("wlm,wlm->wl", self.shares, np.clip(basis.anchors, -MOST_ANCHOR, MOST_ANCHOR))
        median = basis.stack[..., MIDDLE, None] + basis.width * (heard[..., None] + self.shift)
        gaps = (np.diff(basis.stack, axis=-1) + LEAST_GAP * basis.width) * self.stretch
        below = -np.cumsum(gaps[..., MIDDLE - 1 :: -1], -1)[..., ::-1]
        above = np.cumsum(gaps[..., MIDDLE:], -1)
        answer: Floats = np.concatenate([below, np.zeros_like(median), above], -1) + median
        return answer


def correction(parameters: Parameters, inputs: Inputs, prior: Floats) -> Correction:
    """What the network makes of `inputs`; `prior` [W, L, member] as in Basis."""
    state = _encoded(parameters, inputs.sequence)
    series = _linear(parameters, "series", np.concatenate([state, inputs.traits], -1))
    hidden = _gelu(_linear(parameters, "step", inputs.steps) + series[:, None])
    hidden = hidden + _gelu(_linear(parameters, "residual", hidden))
    out = _linear(parameters, "head", hidden)
    members = prior.shape[-1]
    shares = _softmax(np.log(prior + np.float32(LEAST_PRIOR)) + out[..., :members])
    stretch = np.exp(MOST_STRETCH * np.tanh(out[..., members + 1 :] / MOST_STRETCH))
    return Correction(shares, out[..., members : members + 1], stretch)


def _encoded(parameters: Parameters, sequence: Floats) -> Floats:
    """The last hidden state [W, H] of an LSTM, gates in torch's order: input, forget, cell, output."""
    recurrent = parameters["lstm.weight_hh_l0"].T
    driven = (
        sequence @ parameters["lstm.weight_ih_l0"].T + parameters["lstm.bias_ih_l0"] + parameters["lstm.bias_hh_l0"]
    )
    size = recurrent.shape[0]
    hidden: Floats = np.zeros((len(sequence), size), np.float32)
    cell = np.zeros_like(hidden)
    for step in range(sequence.shape[1]):
        gates = driven[:, step] + hidden @ recurrent
        enter, keep, leave = (_sigmoid(gates[:, k * size : (k + 1) * size]) for k in (0, 1, 3))
        cell = keep * cell + enter * np.tanh(gates[:, 2 * size : 3 * size])
        hidden = leave * np.tanh(cell)
    return hidden


def _linear(parameters: Parameters, name: str, x: Floats) -> Floats:
    product: Floats = x @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]
    return product


def _softmax(x: Floats) -> Floats:
    power = np.exp(x - x.max(-1, keepdims=True))
    share: Floats = power / power.sum(-1, keepdims=True)
    return share


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return result


def _gelu(x: Floats) -> Floats:
    """By tanh, as Hendrycks & Gimpel (2016) give it: numpy has no error function."""
    inner = x * x
    inner *= np.float32(0.044715 * 0.7978845608)
    inner += np.float32(0.7978845608)
    inner *= x
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= np.float32(0.5)
    result: Floats = inner
    return result
