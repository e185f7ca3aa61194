"""Label selectors: the text of a selector, and what it selects."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.selector import Operator, Requirement, Selector, carries, parse

names = st.from_regex(r"([a-z0-9.]{1,9}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)
values = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?)?", fullmatch=True)
requirements = st.one_of(
    st.builds(Requirement, names, st.sampled_from([Operator.EXISTS, Operator.ABSENT])),
    st.builds(
        Requirement,
        names,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.frozensets(values, min_size=1, max_size=3),
    ),
)
selectors = st.builds(Selector, st.lists(requirements, max_size=4).map(tuple))


@given(selectors)
def test_text_round_trips(selector: Selector) -> None:
    assert parse(str(selector)) == selector


@given(selectors, st.dictionaries(names, values.filter(bool), max_size=4))
def test_selects_what_kubernetes_defines(selector: Selector, labels: dict[str, str]) -> None:
    """Against the definition of the Kubernetes documentation, for keys that need no other form in Prometheus."""

    def fulfilled(requirement: Requirement) -> bool:
        value = labels.get(requirement.key, "")
        return {
            Operator.EXISTS: requirement.key in labels,
            Operator.ABSENT: requirement.key not in labels,
            Operator.IN: value in requirement.values,
            Operator.NOT_IN: value not in requirement.values,
        }[requirement.operator]

    kept = [r for r in selector.requirements if r.key in labels or r.key.isalnum()]
    assert Selector(tuple(kept)).matches(labels) is all(map(fulfilled, kept))


@given(st.text("ab=!(), in<ü", max_size=20))
def test_any_text_is_a_selector_or_a_named_error(text: str) -> None:
    with contextlib.suppress(ValueError):  # the one error; anything else fails the test
        parsed = parse(text)
        assert parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("  ", True),
        ("env in (prod,stage),queue=orders,region", True),  # hpa-wire-trace: hpa-steady
        ("!gone,q notin (a,b)", True),  # hpa-wire-trace: selector-encoding
        ("queue==orders", True),
        ("queue != orders", False),
        ("env notin (prod, stage)", False),
        ("in in (in),notin", False),
        ("!env", False),
        ("missing", False),
        ("missing=x", False),
        ("missing!=x", True),
        ("missing=", True),  # to Prometheus an empty label is none
        ("app.kubernetes.io/name=web", True),
    ],
)
def test_operators(text: str, selected: bool) -> None:
    labels = {"env": "prod", "queue": "orders", "region": "eu", "q": "c", "app_kubernetes_io_name": "web"}
    assert parse(text).matches(labels) is selected


@pytest.mark.parametrize("text", ["a,", ",a", "a=b=c", "a in b", "a in ()", "a in (b", "a>1", "=b", "!", "a b", "a!b"])
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text)


def test_a_label_is_carried_in_either_form() -> None:
    assert carries({"app_kubernetes_io_name"}, "app.kubernetes.io/name")
    assert not carries({"app"}, "tier")
