from __future__ import annotations

import inspect

import pytest

from cloudpulse import errors
from cloudpulse.errors import CloudPulseError, ConfigError, DependencyMissing, SourceError, SourceUnavailable

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_every_error_is_in_the_one_tree_and_drawn_in_its_docstring() -> None:
    assert errors.__doc__ is not None
    for kind in KINDS:
        assert issubclass(kind, CloudPulseError)
        assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_the_user_has_to_mend_ends_with_exit_code_2(kind: type[CloudPulseError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, ConfigError | DependencyMissing) else 1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, SourceError)])
def test_only_a_source_that_was_not_reached_is_asked_again(kind: type[SourceError]) -> None:
    assert kind.retryable is issubclass(kind, SourceUnavailable)
