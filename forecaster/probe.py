"""What `cloudpulse check --online` finds out about the forecasts: their queries, histories and costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cloudpulse import progress
from cloudpulse.durations import format_duration
from cloudpulse.errors import SourceError
from cloudpulse.findings import Examined, Finding
from cloudpulse.promql import MetricSource, Prometheus, Sample
from forecaster import cost, reading, traits
from forecaster.config import ForecasterSettings, Target
from forecaster.cost import Cost
from forecaster.counters import look_like_counters
from forecaster.frame import Frame
from forecaster.model import label_key
from forecaster.picture import promql_name
from forecaster.pipeline import OWN_LABELS
from forecaster.reading import NoSeries
from forecaster.remoteread import advice
from forecaster.traits import Traits

_MOST_CELLS = 4_000_000
"""Points read to look at a history; more than that is read at a multiple of the step."""
_FEWEST_COLUMNS = 60
_GAPS, _SHORT, _STRONG = 0.05, 0.9, 0.5
_TWO_DAYS = 2 * 86400


def examine(settings: ForecasterSettings, source: MetricSource) -> Iterator[Examined]:
    """A Probe: each forecast in turn, and whether Prometheus itself sees them."""
    costs: dict[tuple[object, ...], Cost] = {}
    for i, target in enumerate(settings.forecasts):
        with progress.shown(f"asking about {target.name}"):
            findings = tuple(_findings(target, source, settings.max_series, costs))
        yield Examined(f"forecaster.forecasts[{i}] {target.name}", findings)
    if (
        settings.forecasts
        and isinstance(source, Prometheus)
        and (told := tuple(advice.findings(source.configuration())))
    ):
        yield Examined("prometheus remote_read", told)


def _findings(
    target: Target, source: MetricSource, max_series: int, costs: dict[tuple[object, ...], Cost]
) -> Iterator[Finding]:
    """`costs` are those measured so far: forecasts of the same shape cost the same."""
    try:
        began = time.perf_counter()
        answer = source.instant(target.query)
        yield from _about_query(target, answer, time.perf_counter() - began, max_series)
        if not answer or _unusable(answer):
            return
        stride = max(1, -(-len(answer) * target.columns // _MOST_CELLS))
        began = time.perf_counter()
        frame = reading.queried(source, target.query, target.step * stride, float(target.history))
        read = (time.perf_counter() - began) * stride
        recent = frame
        if stride > 1:
            columns = max(_FEWEST_COLUMNS, _MOST_CELLS // len(answer))
            recent = reading.queried(source, target.query, target.step, columns * target.step)
    except NoSeries:
        yield Finding("warn", "history", "nothing yet: the series are younger than a step")
        return
    except SourceError as error:
        yield Finding("fail", "query", str(error))
        return
    if np.isnan(frame.values).all():
        yield Finding("fail", "values", "every value is NaN or infinite: does the query divide by zero?")
        return
    known = traits.describe(frame)
    yield from _about_history(target, frame, known, answer)
    yield _about_step(target, traits.describe(recent).changes_every if stride > 1 else known.changes_every)
    yield _about_shape(known)
    yield from _about_values(target, frame, known)
    shape = (target.models, float(target.step), target.columns, target.steps)
    if shape not in costs:
        costs[shape] = cost.measure(target, _filled(frame, stride, target.columns))
    yield _about_cost(target, min(len(answer), max_series), read, costs[shape])
    yield _about_exports(target, min(len(answer), max_series))


def _about_query(target: Target, answer: Sequence[Sample], seconds: float, max_series: int) -> Iterator[Finding]:
    if not answer:
        yield Finding("fail", "query", f"answers no series now: try it in Prometheus (query: {target.query})")
        return
    example = promql_name(answer[0].labels)
    yield Finding("ok", "query", f"{_count(len(answer))}, such as {example}, in {seconds * 1000:.0f} ms")
    if problem := _unusable(answer):
        yield Finding("fail", "labels", problem)
    raw = {name for one in answer if (name := one.labels.get("__name__", "")).endswith("_total")}
    if raw:
        first = min(raw)
        yield Finding("warn", "counter", f"{first} is a counter fed raw, which only ever rises: use rate({first}[5m])")
    if len(answer) > max_series:
        text = f"{len(answer) - max_series} would be left out: forecaster.max_series is {max_series}"
        yield Finding("warn", "series", f"{text}; aggregate in the query or raise it")


def _unusable(answer: Sequence[Sample]) -> str:
    """Why the forecaster could not tell the series apart or export them; nothing when it can."""
    for one in answer:
        if clash := OWN_LABELS & one.labels.keys():
            name = sorted(clash)[0]
            return f"the label {name} is CloudPulse's own: rename it with label_replace, or aggregate it away"
    bare = [{name: value for name, value in one.labels.items() if name != "__name__"} for one in answer]
    if len({label_key(labels) for labels in bare}) < len(bare):
        return "series differ in their metric name only: ask for one metric, or aggregate"
    return ""


def _about_history(target: Target, frame: Frame, known: Traits, answer: Sequence[Sample]) -> Iterator[Finding]:
    span, asked = float(np.nanmedian(known.span)), float(target.history)
    gaps = float(np.nanmean(known.gaps))
    text = f"{_days(span)} of {target.history} asked (median series), {gaps:.1%} of the steps missing"
    if span < min(_TWO_DAYS, asked):
        yield Finding("warn", "history", f"{text}: too little to learn a day from; bands are wide until there is more")
    elif gaps > _GAPS:
        yield Finding(
            "warn", "history", f"{text}: gaps stay gaps, look for failed scrapes or a query that is empty at times"
        )
    elif span < _SHORT * asked:
        yield Finding("note", "history", f"{text}: check Prometheus' retention if there should be more")
    else:
        yield Finding("ok", "history", text)
    now = {label_key(one.labels) for one in answer}
    if gone := [labels for labels in frame.labels if label_key(labels) not in now]:
        text = f"{_count(len(gone))} of the history are gone now, such as {promql_name(gone[0])}"
        yield Finding("note", "churn", f"{text}; they are not forecast")


def _about_step(target: Target, every: NDArray[np.intp]) -> Finding:
    slow = every[every > 1]
    if len(slow) * 2 <= len(every):
        return Finding("ok", "step", f"{target.step} is no finer than the data")
    times = int(np.median(slow))
    wider = format_duration(times * float(target.step))
    text = f"values only change every {wider}: a step of {target.step} repeats them at {times} times the cost"
    return Finding("warn", "step", f"{text}; set step: {wider}")


def _about_shape(known: Traits) -> Finding:
    daily = known.daily[~np.isnan(known.daily)]
    if not len(daily):
        return Finding("note", "shape", "unknown: it takes two days of a step that divides a day")
    text = f"the time of day explains {np.median(daily):.0%} of the variance (median of {_count(len(daily))}"
    text += f"; half or more in {(daily >= _STRONG).sum()})"
    weekly = known.weekly[~np.isnan(known.weekly)]
    text += f", the day of the week {np.median(weekly):.0%} more" if len(weekly) else ""
    return Finding("ok", "shape", text)


def _about_values(target: Target, frame: Frame, known: Traits) -> Iterator[Finding]:
    if known.constant.any():
        row = int(known.constant.argmax())
        text = f"{known.constant.sum()} of {_count(len(known.constant))} never changed, such as"
        yield Finding("note", "constant", f"{text} {promql_name(frame.labels[row])}: no use in forecasting that")
    named = np.array([labels.get("__name__", "").endswith("_total") for labels in frame.labels], bool)
    if (rising := look_like_counters(frame.values) & ~named).any():
        example = promql_name(frame.labels[int(rising.argmax())])
        text = f"{rising.sum()} of {_count(len(rising))} only ever rise, such as {example}"
        yield Finding("note", "rising", f"{text}: if that is a counter, forecast its rate()")
    values = frame.values[~np.isnan(frame.values)]
    low, high = target.bounds.min, target.bounds.max
    outside = (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
    if outside.any():
        text = f"{outside.mean():.1%} of the values lie outside, from {values.min():.4g} to {values.max():.4g}"
        yield Finding("warn", "bounds", f"{text}: forecasts would be clipped")
    for threshold in target.crossings:
        beyond = values >= threshold.value if threshold.direction == "up" else values <= threshold.value
        yield Finding("ok", "threshold", f"{threshold.label} was reached in {beyond.mean():.1%} of the history")


def _about_cost(target: Target, series: int, read: float, measured: Cost) -> Finding:
    points = series * target.columns
    text = (
        f"{points:,} points; about {_time(read)} to read once, {_time(measured.training(series))} of a core to train "
        f"every {target.train_every}, {_time(series * measured.predict_each)} to predict every {target.every}, "
        f"{measured.peak(series, target.columns) / 2**20:,.0f} MiB while training"
    )
    busy = measured.training(series) / float(target.train_every)
    if busy > 1:
        return Finding("warn", "cost", f"{text}: training can't keep up; raise train_every, or choose cheaper models")
    return Finding("ok", "cost", text)


def _about_exports(target: Target, series: int) -> Finding:
    each = cost.exported(target)
    parts = f"{_count(series)} x {each}: horizons x levels, and what is said about each"
    return Finding("ok", "exports", f"at most {series * each:,} series on /metrics ({parts})")


def _filled(frame: Frame, stride: int, columns: int) -> Frame:
    """The frame on the target's own step, values repeated: as long as the real one, which is what costs."""
    step = frame.step / stride
    values = np.repeat(frame.values, stride, axis=1)[:, -columns:]
    return Frame(frame.end - (values.shape[1] - 1) * step, step, frame.labels, values)


def _count(series: int) -> str:
    return "1 series" if series == 1 else f"{series:,} series"


def _days(seconds: float) -> str:
    """To the hour; to the minute below a day."""
    unit = 3600 if seconds >= 86400 else 60
    return format_duration(seconds // unit * unit)


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{max(seconds * 1000, 1):.0f} ms"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
