"""What a way of scaling costs by the user's prices, and which is best."""

from __future__ import annotations

from dataclasses import dataclass

from forecaster.simulation import Course, Figures, Outcome

SPARE_SHARE = 0.05
"""Without prices: how many more pod-hours than reactive scaling fewer short minutes may cost."""


@dataclass(frozen=True)
class Prices:
    """In whatever currency; all 0 is no price. `unserved` is that of load times seconds: a request, of requests/s."""

    pod_hour: float = 0.0
    short_minute: float = 0.0
    unserved: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything has a price."""
        return bool(self.pod_hour or self.short_minute or self.unserved)

    def cost(self, figures: Figures) -> float:
        """Of the whole simulated time."""
        return (
            self.pod_hour * figures.pod_hours
            + self.short_minute * figures.short_minutes
            + self.unserved * figures.unserved
        )


def best(outcome: Outcome, prices: Prices) -> Course:
    """The cheapest; without prices the one with the fewest short minutes at `SPARE_SHARE` more pod-hours at most.

    Of equals the one that needs fewer pod-hours, and reactive scaling before any forecast.
    """
    courses = (outcome.reactive, *outcome.predictive)
    if prices:
        return min(courses, key=lambda one: (prices.cost(one.figures), one.figures.pod_hours))
    most = outcome.reactive.figures.pod_hours * (1 + SPARE_SHARE)
    within = [one for one in courses if one.figures.pod_hours <= most]
    return min(within, key=lambda one: (one.figures.short_minutes, one.figures.pod_hours))
