"""The network, forward only and in numpy, so that the serving process needs no torch.

An LSTM reads the last week; its state and the traits of the series join the features of each lead, pointwise. The
answer is a correction of the stack: its median is shifted and the gaps between its quantiles are stretched, so that
they never cross. With the last layer at zero it is the stack itself.

torch_training.py holds the same arithmetic for training; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.model import QUANTILE_GRID
from forecaster.models.features import Inputs, width

Parameters = Mapping[str, NDArray[np.float32]]
Floats = NDArray[np.floating[Any]]

MIDDLE = len(QUANTILE_GRID) // 2
OUTPUTS = len(QUANTILE_GRID)
"""Of the last layer per lead: the shift of the median in widths of the stack's band, and a stretch for each gap."""
MOST_STRETCH = 1.5


def quantiles(parameters: Parameters, inputs: Inputs) -> Floats:
    """[W, L, level of QUANTILE_GRID] in units of `inputs.scale`."""
    state = _lstm(parameters, inputs.sequence)
    series = np.concatenate([state, inputs.traits], -1) @ parameters["series.weight"].T + parameters["series.bias"]
    hidden = _gelu(inputs.steps @ parameters["step.weight"].T + parameters["step.bias"] + series[:, None])
    hidden = hidden + _gelu(hidden @ parameters["residual.weight"].T + parameters["residual.bias"])
    return corrected(hidden @ parameters["head.weight"].T + parameters["head.bias"], inputs)


def corrected(out: Floats, inputs: Inputs) -> Floats:
    """The stack's quantiles as the outputs of the last layer change them."""
    median = inputs.stack[..., MIDDLE, None] + out[..., :1] * width(inputs.stack)
    gaps = np.diff(inputs.stack, axis=-1) * np.exp(MOST_STRETCH * np.tanh(out[..., 1:]))
    below = -np.cumsum(gaps[..., MIDDLE - 1 :: -1], -1)[..., ::-1]
    above = np.cumsum(gaps[..., MIDDLE:], -1)
    answer: Floats = np.concatenate([below, np.zeros_like(above[..., :1]), above], -1) + median
    return answer


def _lstm(parameters: Parameters, sequence: Floats) -> Floats:
    """The last hidden state [W, H], gates in torch's order: input, forget, cell, output."""
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


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return result


def _gelu(x: Floats) -> Floats:
    """By tanh, as Hendrycks & Gimpel (2016) give it: numpy has no error function."""
    cubic = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    result: Floats = np.float32(0.5) * x * (1 + np.tanh(cubic))
    return result
