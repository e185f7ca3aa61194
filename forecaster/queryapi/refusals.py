"""Why a query isn't answered, in the words of Prometheus' API."""

from __future__ import annotations

from cloudpulse.errors import CloudPulseError

DOCS = "docs/query-api.md"


class Refused(CloudPulseError):
    """A query that isn't answered; `kind` is Prometheus' errorType, `status` the HTTP status that goes with it.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview
    """

    kind = "execution"
    status = 422


class BadQuery(Refused):
    """A parameter or the expression can't be read."""

    kind = "bad_data"
    status = 400


class TimedOut(Refused):
    """The query took longer than it may."""

    kind = "timeout"
    status = 503


class Unavailable(Refused):
    """Too many others ask."""

    kind = "unavailable"
    status = 503


class NotFound(Refused):
    """An endpoint of Prometheus that isn't here."""

    kind = "not_found"
    status = 404


class Broken(Refused):
    """A fault of ours."""

    kind = "internal"
    status = 500


def unsupported(thing: str) -> Refused:
    """For valid PromQL that the subset leaves out."""
    return Refused(f"cloudpulse: {thing} is not supported here; supported: see {DOCS}")
