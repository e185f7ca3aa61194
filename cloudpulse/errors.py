"""Every error that CloudPulse raises on purpose, in one tree.

    CloudPulseError
    ├── ConfigError            the config file or a flag is wrong: where, what, what to do (exit code 2)
    ├── DependencyMissing      an extra is not installed (exit code 2)
    ├── BadRequest             a client asked for what can't be: the answer is 400 with this text
    ├── AddressUnavailable     a port is taken, or the address isn't this machine's
    ├── WorkersUnavailable     what trains models can't be reached: forecasts go on with the models that there are
    ├── StoreError             data_dir can't be written or read (full disk, permissions)
    │   └── CorruptFile        a stored file isn't what was written
    └── SourceError            Prometheus gave no usable answer; `retryable` says whether to ask again
        ├── SourceUnavailable  not reached, or 5xx: retryable
        │   └── QueryTimeout   no answer in time: retryable, best with a shorter range
        ├── QueryRejected      Prometheus refused the query: not retryable
        │   └── TooManySamples more than Prometheus or max_samples_per_query allows, or the range is too long
        └── AnswerUnusable     an answer of the wrong kind (a scalar, a string): not retryable

A message says what failed, for which value, and what to do.
"""

from __future__ import annotations


class CloudPulseError(Exception):
    """Base of all; `exit_code` is what a command that ends with it returns."""

    exit_code = 1


class ConfigError(CloudPulseError):
    """The config file, a flag or an environment variable is wrong; the message names the place."""

    exit_code = 2


class DependencyMissing(CloudPulseError):
    """A Python package or program that the command needs is not installed."""

    exit_code = 2


class BadRequest(CloudPulseError):
    """A request that can never be answered; the message is for the client: what is wrong, and what would be right."""


class AddressUnavailable(CloudPulseError):
    """The address to listen on is taken, or not one of this machine's."""


class WorkersUnavailable(CloudPulseError):
    """The executor that models are trained on can't be started or reached; it is tried again."""


class StoreError(CloudPulseError):
    """A file under `data_dir`, or the database in its place, can't be written or read."""


class CorruptFile(StoreError):
    """A stored file fails its checksum or format; it is left in place for a person to look at."""


class SourceError(CloudPulseError):
    """Prometheus gave no usable answer."""

    retryable = False


class SourceUnavailable(SourceError):
    """Prometheus was not reached, took too long, or failed; the same question may succeed later."""

    retryable = True


class QueryTimeout(SourceUnavailable):
    """Prometheus did not answer in time; a shorter range may succeed, and so may the same later."""


class QueryRejected(SourceError):
    """Prometheus understood the request and refused it: a parse error, too many samples."""


class TooManySamples(QueryRejected):
    """The query loads more samples than Prometheus allows, or than `prometheus.max_samples_per_query` does."""


class AnswerUnusable(SourceError):
    """The query works but answers something other than series: a scalar or a string."""
