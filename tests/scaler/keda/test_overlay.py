"""`examples/keda/kustomization.yaml`: what it makes of the cluster example is valid and agrees with the program."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography import x509

from cloudpulse.config import PrometheusSettings, parse
from scaler.config import ScalerSettings

FOLDER = Path(__file__).parents[3] / "examples" / "keda"
README = (FOLDER / "README.md").read_text()
NAME, SPACE = "cloudpulse-scaler", "cloudpulse"
Manifest = dict[str, Any]


def _built(folder: Path) -> list[Manifest]:
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def built() -> list[Manifest]:
    return _built(FOLDER)


def _the(built: list[Manifest], kind: str) -> Manifest:
    (found,) = [one for one in built if one["kind"] == kind]
    return found


def _pod(built: list[Manifest]) -> Manifest:
    pod: Manifest = _the(built, "Deployment")["spec"]["template"]["spec"]
    return pod


def _settings(built: list[Manifest]) -> ScalerSettings:
    file = parse(_the(built, "ConfigMap")["data"]["cloudpulse.yaml"], Path("cloudpulse.yaml"), {})
    file.section("prometheus", PrometheusSettings)
    return file.section("scaler", ScalerSettings)


def _secret_of_readme(name: str) -> tuple[str, set[str]]:
    """The namespace and the keys of the Secret `name` that README.md creates."""
    (found,) = re.findall(rf"--namespace (\S+) create secret generic {name} \\\n(.*)", README)
    return found[0], {key.partition("=")[0] for key in re.findall(r"--from-file (\S+)", found[1])}


def test_each_manifest_is_valid(built: list[Manifest]) -> None:
    for document in built:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_all_of_the_cluster_example_is_there_but_the_group_that_keda_serves(built: list[Manifest]) -> None:
    def named(documents: list[Manifest]) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in documents if one["kind"] != "ConfigMap"}

    assert named(_built(FOLDER.parent / "kubernetes")) - named(built) == {
        ("APIService", "v1beta1.external.metrics.k8s.io")
    }


def test_the_service_leads_to_the_port_that_the_config_names_beside_the_one_of_the_api(built: list[Manifest]) -> None:
    keda = _settings(built).keda
    assert keda is not None
    ports = {port["name"]: port for port in _the(built, "Service")["spec"]["ports"]}
    (container,) = _pod(built)["containers"]
    listened = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports.keys() == listened.keys() == {"https", "keda"}
    assert ports["keda"]["port"] == listened[ports["keda"]["targetPort"]] == keda.address[1]
    asked = set(re.findall(r"scalerAddress: (\S+)", "".join(path.read_text() for path in FOLDER.glob("*.yaml"))))
    assert asked == {f"{NAME}.{SPACE}.svc:{ports['keda']['port']}"}


def test_every_file_that_the_config_names_is_mounted_from_a_secret_that_readme_makes(built: list[Manifest]) -> None:
    settings = _settings(built)
    assert settings.auth.mode == "delegated"
    assert settings.keda is not None
    assert settings.keda.tls is not None
    assert settings.tls is not None
    (container,) = _pod(built)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in _pod(built)["volumes"]}
    assert {str(settings.tls.cert_file.parent), str(settings.tls.key_file.parent)} == {"/tls"}
    assert settings.keda.tls.client_ca_file is not None
    files = (settings.keda.tls.cert_file, settings.keda.tls.key_file, settings.keda.tls.client_ca_file)
    (folder,) = {str(file.parent) for file in files}
    secret = volumes[mounts[folder]]["secret"]["secretName"]
    assert _secret_of_readme(secret) == (SPACE, {file.name for file in files})
    config = volumes[mounts["/etc/cloudpulse"]]["configMap"]["name"]
    assert config == _the(built, "ConfigMap")["metadata"]["name"]


def test_keda_takes_its_files_from_the_other_secret_that_readme_makes() -> None:
    taken = yaml.safe_load((FOLDER / "authentication.yaml").read_text())["spec"]["secretTargetRef"]
    (secret,) = {entry["name"] for entry in taken}
    assert _secret_of_readme(secret) == ("keda", {entry["key"] for entry in taken})
    assert {entry["parameter"]: entry["key"] for entry in taken}["caCert"] == "server-ca.crt"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl on PATH")
def test_the_certificates_of_readme_are_signed_by_their_own_ca_alone(tmp_path: Path) -> None:
    (script,) = re.findall(r"^for side in .*?^done$", README, re.MULTILINE | re.DOTALL)
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    for side, other in (("server", "client"), ("client", "server")):
        leaf = x509.load_pem_x509_certificate((tmp_path / f"{side}.crt").read_bytes())
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / f"{side}-ca.crt").read_bytes()))
        with pytest.raises(ValueError, match="does not match certificate issuer"):
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / f"{other}-ca.crt").read_bytes()))
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{NAME}.{SPACE}.svc"]
        ssl.create_default_context().load_cert_chain(tmp_path / f"{side}.crt", tmp_path / f"{side}.key")
