"""What the forecaster's one-off commands take on their command line, checked where it enters."""

from __future__ import annotations

import itertools
import math

import click

from cloudpulse.durations import Duration
from forecaster.localtime import Calendar


def duration(ctx: click.Context, param: click.Parameter, value: str) -> Duration:
    """A callback for an option that takes a duration above 0."""
    try:
        parsed = Duration.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if parsed <= 0:
        raise click.BadParameter(f'expected more than 0s, got "{value}"', ctx, param)
    return parsed


def optional_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> Duration | None:
    """The same, for one that may be left out."""
    return None if value is None else duration(ctx, param, value)


def durations(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Duration, ...]:
    """The same, for one that may be given several times; rising, each once."""
    return tuple(sorted({duration(ctx, param, one) for one in value}))


def levels(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """A callback for `--levels`: rising, between 0 and 1."""
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError:
        found = ()
    rising = all(a < b for a, b in itertools.pairwise(found))
    if not found or not all(0 < level < 1 for level in found) or not rising:
        message = f'expected rising numbers between 0 and 1 such as 0.1,0.5,0.9, got "{value}"'
        raise click.BadParameter(message, ctx, param)
    return found


def share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A callback for `--target`: `70%` or `0.7`."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise click.BadParameter(f'expected a share up to 100% such as 70%, got "{value}"', ctx, param)
    return share


def calendar(ctx: click.Context, param: click.Parameter, value: str) -> Calendar:
    """A callback for `--timezone`."""
    try:
        return Calendar(value)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("timezone: "), ctx, param) from error


def models(value: str) -> str | tuple[str, ...]:
    """`auto`, or names between commas, as `forecaster.models.build` takes them."""
    return "auto" if value == "auto" else tuple(name.strip() for name in value.split(","))
