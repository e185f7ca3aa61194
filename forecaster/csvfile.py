"""A Frame from a wide CSV: `timestamp` in UTC, then one column a series; an empty field is a gap."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from cloudpulse.durations import format_duration
from cloudpulse.errors import ConfigError
from cloudpulse.promql import Series
from forecaster.frame import Frame, from_series
from forecaster.models.grid import DAYS, Grid

TIME = "timestamp"
STDIN = Path("-")
NAME = "series"
"""The label that holds a column's name."""

_NOT_CSV = (UnicodeDecodeError, EOFError, zlib.error, csv.Error)
_GZIP = b"\x1f\x8b"


def read(path: Path, step: float, days: float = DAYS) -> Frame:
    """The last `days` of `path` on a grid of `step` seconds that ends at its last row.

    `STDIN` is standard input; what is compressed by gzip is unpacked.
    Each row goes to the nearest grid point, of rows that share one the later in the file; infinities are gaps.
    Raises ConfigError that names the file, the line or column, and what is expected.
    """
    table = _table(path)
    times = _times(path, table)
    order = np.argsort(times, kind="stable")
    end = float(times[order[-1]])
    _check_spacing(path, times[order], step)
    length = min(max(2, int(days * Grid(step).day)), int((end - float(times[order[0]])) / step + 0.5) + 1)
    series = [
        Series({NAME: str(name)}, times[order], _numbers(path, table[name])[order])
        for name in table.columns
        if name != TIME
    ]
    observed = [Series(one.labels, *_known(one)) for one in series]
    return from_series(observed, end - (length - 1) * step, step, length)


def _table(path: Path) -> pd.DataFrame:
    try:
        text = _bytes(path).decode("utf-8-sig")
        names = [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), [""])]
        table = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False).fillna("")
    except OSError as error:
        raise ConfigError(f"{path}: can't read it: {error.strerror or error}") from error
    except (
        UnicodeDecodeError,
        EOFError,
        zlib.error,
        csv.Error,
        pd.errors.EmptyDataError,
        pd.errors.ParserError,
    ) as error:
        raise ConfigError(f"{path}: not a CSV file: {' '.join(str(error).split())}") from error
    if names[0] != TIME:
        raise ConfigError(f'{path}: the first column must be "{TIME}", and fields end at commas; got "{names[0]}"')
    if len(names) < 2:
        raise ConfigError(f"{path}: no series: expected a column beside {TIME}")
    if "" in names:
        raise ConfigError(f"{path}: column {names.index('') + 1} has no name in the first line")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f'{path}: the column "{twice[0]}" is there twice')
    if not isinstance(table.index, pd.RangeIndex):
        raise ConfigError(f"{path}: not a CSV file: its rows have more fields than the header")
    if table.empty:
        raise ConfigError(f"{path}: no rows: expected at least one below the header")
    return table


def _bytes(path: Path) -> bytes:
    """The file, read once so that it may be a pipe; gzip is undone."""
    raw = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    return gzip.decompress(raw) if raw.startswith(_GZIP) else raw


def _times(path: Path, table: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Unix seconds of the rows."""
    stamps = pd.to_datetime(table[TIME], utc=True, errors="coerce", format="ISO8601")
    if stamps.isna().any():
        _refuse(path, table[TIME], stamps.isna().to_numpy(), "a UTC time such as 2024-01-31T12:00:00Z")
    seconds = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(seconds.to_numpy(), np.float64)


def _numbers(path: Path, column: pd.Series[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    texts = column.str.strip()
    texts = texts.where(~texts.str.lower().isin(["nan", "null"]), "")
    values = pd.to_numeric(texts.where(texts != "", None), errors="coerce").to_numpy(np.float64)
    wrong = np.isnan(values) & (texts != "").to_numpy()
    if wrong.any():
        _refuse(path, column, wrong, "a number, or nothing for a gap")
    return np.asarray(values)


def _refuse(
    path: Path, column: pd.Series[str], wrong: np.ndarray[tuple[int], np.dtype[np.bool_]], what: str
) -> NoReturn:
    row = int(wrong.argmax())
    raise ConfigError(f'{path}: line {row + 2}, column "{column.name}": expected {what}, got "{column.iloc[row]}"')


def _check_spacing(path: Path, times: np.ndarray[tuple[int], np.dtype[np.float64]], step: float) -> None:
    """A step that isn't the file's would quietly drop rows, or see nothing but gaps."""
    if len(times) < 3:
        return
    spacing = float(np.median(np.diff(times)))
    if not 0.75 * step <= spacing <= 1.5 * step:
        apart, asked = format_duration(spacing), format_duration(step)
        raise ConfigError(f"{path}: the rows are {apart} apart, not {asked}: give --step {apart}, or resample the file")


def _known(
    one: Series,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Without gaps, so that a gap that shares a grid point with a value doesn't hide it."""
    known = ~np.isnan(one.values)
    return one.times[known], one.values[known]
