"""`examples/kubernetes/`: valid, agreeing with each other and with the program, and with no right too many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cloudpulse import __version__
from cloudpulse.config import PrometheusSettings, parse
from scaler.__main__ import DEFAULT_PORT, command
from scaler.app import ALIVE, READY
from scaler.config import ScalerSettings
from scaler.protocol import VERSIONS
from scaler.resources import KNOWN

FOLDER = Path(__file__).parents[2] / "examples" / "kubernetes"
NAME, SPACE = "cloudpulse-scaler", "cloudpulse"


def _documents() -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = [*kustomization["resources"], "hpa.yaml"]
    return [document for file in files for document in yaml.safe_load_all((FOLDER / file).read_text())]


def _of(kind: str) -> list[dict[str, Any]]:
    return [document for document in _documents() if document["kind"] == kind]


def _settings() -> ScalerSettings:
    (config,) = _of("ConfigMap")
    file = parse(config["data"]["cloudpulse.yaml"], Path("cloudpulse.yaml"), {})
    file.section("prometheus", PrometheusSettings)
    return file.section("scaler", ScalerSettings)


@pytest.mark.parametrize("document", _documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_each_manifest_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_kubectl_builds_the_kustomization() -> None:
    kubectl = Path(sys.executable).with_name("kubectl")
    built = subprocess.run([kubectl, "kustomize", FOLDER], capture_output=True, text=True, check=True, timeout=60)
    documents = list(yaml.safe_load_all(built.stdout))
    applied = [document for document in _documents() if document["kind"] != "HorizontalPodAutoscaler"]
    names = [(d["kind"], d["metadata"]["name"]) for d in applied]
    assert sorted((d["kind"], d["metadata"]["name"]) for d in documents) == sorted(names)
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"cloudpulse:{__version__}"


def test_every_file_is_applied_or_an_example() -> None:
    named = set(yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"])
    assert {file.name for file in FOLDER.glob("*.yaml")} == named | {"kustomization.yaml", "hpa.yaml"}


def test_everything_is_in_one_namespace_but_the_word_on_trust() -> None:
    places = {(d["kind"], d["metadata"]["namespace"]) for d in _documents() if "namespace" in d["metadata"]}
    assert {place for place in places if place[1] not in (SPACE, "default")} == {("RoleBinding", "kube-system")}
    (space,) = _of("Namespace")
    assert space["metadata"]["name"] == SPACE


def test_the_service_leads_to_the_port_that_the_scaler_listens_on() -> None:
    (service,), (deployment,), (budget,) = _of("Service"), _of("Deployment"), _of("PodDisruptionBudget")
    template = deployment["spec"]["template"]
    for selector in (
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= template["metadata"]["labels"].items()
    (container,), (port,) = template["spec"]["containers"], service["spec"]["ports"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports[port["targetPort"]] == DEFAULT_PORT
    known = {option for parameter in command.params for option in parameter.opts}
    assert container["args"][0] == "scaler"
    assert {arg for arg in container["args"] if arg.startswith("--")} <= known
    assert f":{DEFAULT_PORT}" in container["args"]
    for probe, paths in (("readinessProbe", (READY,)), ("livenessProbe", ALIVE)):
        asked = container[probe]["httpGet"]
        assert (asked["scheme"], asked["path"] in paths) == ("HTTPS", True)
        assert ports[asked["port"]] == DEFAULT_PORT


def test_the_files_that_the_config_names_are_mounted() -> None:
    (deployment,), (config,) = _of("Deployment"), _of("ConfigMap")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    tls = _settings().tls
    assert tls is not None
    assert {str(tls.cert_file), str(tls.key_file)} == {"/tls/tls.crt", "/tls/tls.key"}
    secret = volumes[mounts["/tls"]]["secret"]["secretName"]
    assert secret in (FOLDER / "README.md").read_text()
    place, name = container["args"][container["args"].index("--config") + 1].rsplit("/", 1)
    assert volumes[mounts[place]]["configMap"]["name"] == config["metadata"]["name"]
    assert name in config["data"]


def test_the_pod_may_do_as_little_as_it_needs() -> None:
    (deployment,) = _of("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_scalers_account_has_these_rights_and_no_others() -> None:
    (account,) = _of("ServiceAccount")
    (deployment,) = _of("Deployment")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"] == NAME
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": SPACE}
    rights = {
        (binding["kind"], binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for binding in (*_of("RoleBinding"), *_of("ClusterRoleBinding"))
        if subject in binding["subjects"]
    }
    assert rights == {
        ("ClusterRoleBinding", "ClusterRole", "system:auth-delegator"),
        ("RoleBinding", "Role", "extension-apiserver-authentication-reader"),
        ("ClusterRoleBinding", "ClusterRole", "cloudpulse-scaler-pods"),
    }
    rules = {role["metadata"]["name"]: role["rules"] for role in _of("ClusterRole")}
    assert rules["cloudpulse-scaler-pods"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]


def test_the_hpa_controller_may_read_what_we_authorise() -> None:
    bindings = [b for b in _of("ClusterRoleBinding") if b["roleRef"]["name"] == "cloudpulse-metrics-reader"]
    assert [b["subjects"] for b in bindings] == [
        [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}]
    ]
    (role,) = [r for r in _of("ClusterRole") if r["metadata"]["name"] == "cloudpulse-metrics-reader"]
    assert {(rule["apiGroups"][0], *rule["verbs"]) for rule in role["rules"]} == {
        ("custom.metrics.k8s.io", "get"),
        ("external.metrics.k8s.io", "list"),
    }


def test_each_group_and_version_is_registered_and_verified() -> None:
    (service,) = _of("Service")
    registered = {}
    for api in _of("APIService"):
        spec = api["spec"]
        assert api["metadata"]["name"] == f"{spec['version']}.{spec['group']}"
        assert spec["service"] == {**{k: service["metadata"][k] for k in ("name", "namespace")}, "port": 443}
        assert "insecureSkipTLSVerify" not in spec
        assert f"{spec['version']}.{spec['group'].split('.')[0]}" in (FOLDER / "README.md").read_text()
        registered.setdefault(spec["group"], {})[spec["versionPriority"]] = spec["version"]
    assert {
        group: tuple(version for _, version in sorted(versions.items(), reverse=True))
        for group, versions in registered.items()
    } == VERSIONS
    assert f"DNS:{NAME}.{SPACE}.svc" in (FOLDER / "README.md").read_text()


def test_the_hpas_ask_for_metrics_that_the_config_has() -> None:
    settings = _settings()
    assert settings.auth.mode == "delegated"
    offered = {(rule.api, rule.name, kind) for rule in settings.metrics for kind in (*rule.objects, "")}
    asked = set()
    for hpa in _of("HorizontalPodAutoscaler"):
        for metric in hpa["spec"]["metrics"]:
            source = metric[metric["type"].lower()]
            kind = "pods" if metric["type"] == "Pods" else ""
            if metric["type"] == "Object":
                kind = KNOWN[source["describedObject"]["kind"].lower()].name
            api = "external" if metric["type"] == "External" else "custom"
            asked.add((api, source["metric"]["name"], kind))
    assert len(asked) == 3
    assert asked <= offered


def test_a_slow_start_is_not_taken_for_a_hang() -> None:
    (deployment,) = _of("Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["httpGet"] == liveness["httpGet"]
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 60
    assert "initialDelaySeconds" not in liveness  # it begins once the startup probe has succeeded
