"""What a template sees: plain texts, lists and numbers, which are escaped for the channel where they are put out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alert_bridge.channels import Moment


@dataclass(frozen=True)
class AckView:
    """Who has taken it until when; `whole` when nothing else of the incident still fires."""

    by: str
    until: Moment
    comment: str
    whole: bool


@dataclass(frozen=True)
class AlertView:
    """One alert.

    `title` is its labels beside those that all have in common, or all of them; its name in front where alerts of
    several names are told of. `since` and `ended` are written as "14:32 UTC", with the date when it is another day's,
    and in the reader's time zone where the channel (Slack) knows it; `ended` is nothing while it fires. `value` is
    now's, asked again, and empty where it isn't known; annotations are those of the last time that it fired. `outlook`
    are sentences. `ack` is nothing but in a summary, where someone has taken it meanwhile.
    """

    name: str
    title: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    summary: str
    description: str
    firing: bool
    since: Moment
    ended: Moment | None
    value: str
    outlook: Sequence[str]
    ack: AckView | None


@dataclass(frozen=True)
class HeldBack:
    """How many notifications of how many incidents a rate limit has put into this one message."""

    notifications: int
    incidents: int


@dataclass(frozen=True)
class Links:
    """Where to click; each empty unless it is http or https, and all of them where the channel has buttons.

    `runbook` and `prometheus` are empty, too, where alerts have different ones.
    """

    undo: str = ""
    runbook: str = ""
    ack: str = ""
    prometheus: str = ""
    alertmanager: str = ""


@dataclass(frozen=True)
class Variables:
    """The variables of a template.

    `kind` is firing, update (told before, or some have resolved), resolved, ack or summary. `name` is the alert's, or
    "3 alerts: A, B"; `where` the labels that all have in common
    beside the name and the severity, what they are grouped by first. `labels`, `annotations`, `severity`, `summary` and
    `description` are what all alerts have in common. `firing` and `resolved` hold the alerts; `listed` as many of
    both as the message has room for, `more` how many others there are, `left_out` how many Alertmanager left out.
    `since` is the first start, `ended` the last end once nothing fires. `company` are other forecasts that are unusual
    in the same minutes. `ack` and `held_back` are nothing for other messages; `receiver` is its name in the config,
    `instead_of` that of the receiver that could not be told, where this one is its fallback.
    """

    kind: str
    name: str
    severity: str
    where: str
    firing: Sequence[AlertView]
    resolved: Sequence[AlertView]
    listed: Sequence[AlertView]
    more: int
    left_out: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    summary: str
    description: str
    since: Moment
    ended: Moment | None
    company: Sequence[str]
    ack: AckView | None
    held_back: HeldBack | None
    links: Links
    receiver: str
    instead_of: str

    def by_name(self) -> dict[str, object]:
        """Each under its name."""
        return {name: getattr(self, name) for name in NAMES}


NAMES = frozenset(field.name for field in dataclasses.fields(Variables))
