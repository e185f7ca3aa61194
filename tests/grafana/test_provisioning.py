"""Grafana as compose.yaml starts it: it finds the dashboards, asks the stack, and is nobody else's."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cloudpulse.local import ports

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
GRAFANA: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
MOUNTS = [mount.split(":") for mount in GRAFANA["volumes"]]

# grafana.com/docs/grafana/latest/administration/provisioning: a key that isn't known is ignored without a word.
DATASOURCE_KEYS = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
JSON_DATA_KEYS = {"httpMethod", "prometheusType", "timeInterval", "incrementalQuerying", "manageAlerts"}
PROVIDER_KEYS = {
    "name", "folder", "folderUid", "type", "disableDeletion", "allowUiUpdates", "updateIntervalSeconds", "options",
}  # fmt: skip


def provisioned(kind: str) -> list[dict[str, Any]]:
    """What the files of a kind (datasources, dashboards) list, as Grafana reads them."""
    trees = [yaml.safe_load(path.read_text()) for path in sorted((PROVISIONING / kind).iterdir())]
    assert all(tree["apiVersion"] == 1 for tree in trees)
    (key,) = {key for tree in trees for key in tree} - {"apiVersion"}
    return [one for tree in trees for one in tree[key]]


def on_this_side(inside: str) -> Path:
    """The file or folder of the repository that Grafana sees as `inside`; fails where nothing is mounted."""
    for source, target, _ in MOUNTS:
        if PurePosixPath(inside).is_relative_to(target):
            return ROOT / source / PurePosixPath(inside).relative_to(target)
    pytest.fail(f"{inside} is not mounted")


def test_every_mount_exists_and_is_read_only() -> None:
    assert MOUNTS
    assert [source for source, _, mode in MOUNTS if mode != "ro" or not (ROOT / source).is_dir()] == []


@pytest.mark.parametrize("kind", ["datasources", "dashboards"])
def test_grafana_reads_the_provisioning_files(kind: str) -> None:
    assert on_this_side(f"/etc/grafana/provisioning/{kind}") == PROVISIONING / kind


def test_the_data_sources_are_the_prometheus_and_the_forecaster_of_the_stack() -> None:
    found = {one["name"]: one for one in provisioned("datasources")}
    assert all(one.keys() <= DATASOURCE_KEYS and one["jsonData"].keys() <= JSON_DATA_KEYS for one in found.values())
    assert {one["type"] for one in found.values()} == {"prometheus"}
    assert {name: urlsplit(one["url"]).port for name, one in found.items()} == {
        "Prometheus": ports.DEFAULTS["prometheus"],
        "CloudPulse forecaster": ports.DEFAULTS["forecaster"],
    }
    assert len({one["uid"] for one in found.values()}) == len(found)


def test_the_prometheus_is_what_dashboards_ask_if_nobody_chooses() -> None:
    assert [one["name"] for one in provisioned("datasources") if one["isDefault"]] == ["Prometheus"]


def test_rates_are_made_over_the_interval_at_which_prometheus_scrapes() -> None:
    scraped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert {one["jsonData"]["timeInterval"] for one in provisioned("datasources")} == {scraped}


def test_no_data_source_keeps_an_old_future() -> None:
    assert {one["jsonData"]["incrementalQuerying"] for one in provisioned("datasources")} == {False}


def test_the_provider_finds_every_dashboard() -> None:
    (provider,) = provisioned("dashboards")
    assert provider.keys() <= PROVIDER_KEYS
    folder = on_this_side(provider["options"]["path"])
    assert folder == ROOT / "grafana" / "dashboards"
    assert [json.loads(path.read_text())["uid"] for path in folder.glob("*.json")]


def test_grafana_opens_with_the_overview() -> None:
    home = on_this_side(GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads(home.read_text())["uid"] == "cloudpulse-overview"


def test_grafana_is_for_this_machine_and_lets_nobody_change_anything() -> None:
    settings = GRAFANA["environment"]
    assert settings["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert all(isinstance(value, str) for value in settings.values()), "compose takes texts"


def test_the_image_is_pinned() -> None:
    name, _, version = GRAFANA["image"].partition(":")
    assert name == "grafana/grafana"
    assert version.count(".") == 2
