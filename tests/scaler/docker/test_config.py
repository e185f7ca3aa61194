"""What the `scaler.docker` section takes, and how a wrong one is refused."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cloudpulse import hpa
from cloudpulse.check import command
from cloudpulse.cli import cloudpulse
from cloudpulse.errors import ConfigError
from scaler.config import ScalerSettings

EXAMPLES = Path(__file__).parents[3] / "examples" / "docker"
README = (EXAMPLES / "README.md").read_text()
Read = Callable[[str], ScalerSettings]
METRICS = """
metrics:
  - {name: Ahead, api: external, query: q}
  - {name: by_namespace, api: external, query: q, resource: {namespace: ns}}
  - {name: pods, api: custom, query: q, resource: {namespace: ns, pod: pod}}
"""


def test_a_full_section_is_read(settings_of: Read) -> None:
    docker = settings_of(f"""{METRICS}
docker:
  host: tcp://10.0.0.1:2376
  tls: {{ca_file: ca.pem, cert_file: cert.pem, key_file: key.pem}}
  interval: 30s
  dry_run: true
  services:
    - swarm: shop_web
      metric: ahead
      selector: app in (web,api),!canary
      target: 100
      min: 2
      max: 20
      behavior:
        scaleUp: {{stabilizationWindowSeconds: 30, tolerance: 0.05}}
        scaleDown:
          selectPolicy: Min
          policies: [{{type: Pods, value: 2, periodSeconds: 60}}, {{type: Percent, value: 10, periodSeconds: 60}}]
    - {{compose: {{project: shop, service: web}}, metric: Ahead, value: 0.7, max: 3}}
""").docker
    assert docker is not None
    web, other = docker.services
    assert (docker.dry_run, docker.interval, web.name, other.name) == (True, 30, "shop_web", "shop/web")
    assert (other.min, other.behavior.behavior()) == (1, hpa.Behavior())
    up, down = web.behavior.behavior().scale_up, web.behavior.behavior().scale_down
    assert up == hpa.ScalingRules(30, hpa.DEFAULT_UP.policies, "Max", 0.05)
    assert down == hpa.ScalingRules(300, (hpa.Policy("Pods", 2, 60), hpa.Policy("Percent", 10, 60)), "Min")


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("{metric: ahead, target: 1, max: 2}", "expected exactly one of swarm and compose"),
        ("{swarm: a, compose: {project: p, service: s}, metric: ahead, target: 1, max: 2}", "exactly one of swarm and"),
        ("{swarm: a/b, metric: ahead, target: 1, max: 2}", "swarm: expected the name of a service"),
        ("{compose: {project: p, service: ''}, metric: ahead, target: 1, max: 2}", "services[0].compose"),
        ("{swarm: a, metric: ahead, max: 2}", "expected exactly one of target and value"),
        ("{swarm: a, metric: ahead, target: 1, value: 1, max: 2}", "expected exactly one of target and value"),
        ("{swarm: a, metric: ahead, target: 0, max: 2}", "target: expected a number from 0.001 to 2^53, got 0"),
        ("{swarm: a, metric: ahead, target: 0.0001, max: 2}", "target: expected a number from 0.001 to 2^53"),
        ("{swarm: a, metric: ahead, target: 1.0e+17, max: 2}", "target: expected a number from 0.001 to 2^53"),
        ("{swarm: a, metric: ahead, target: .nan, max: 2}", "target: expected a number from 0.001 to 2^53, got nan"),
        ("{swarm: a, metric: ahead, value: .inf, max: 2}", "value: expected a number from 0.001 to 2^53, got inf"),
        ("{swarm: a, metric: ahead, target: 1e17, max: 2}", "expected a number, got a text (write 1e17 as 1.0e+17"),
        (
            "{swarm: a, metric: ahead, target: 1, max: 2, behavior: {scaleUp: {selectPolicy: Foo}}}",
            "behavior.scaleUp.selectPolicy: expected one of Disabled, Max, Min, got 'Foo'",
        ),
        ("{swarm: a, metric: ahead, value: 0.0015, max: 2}", "value: 0.0015 would be counted as 0.002"),
        ("{swarm: a, metric: ahead, target: 1}", "services[0]: missing key `max`"),
        ("{swarm: a, metric: ahead, target: 1, min: 3, max: 2}", "expected min not above max, got 3 and 2"),
        ("{swarm: a, metric: ahead, target: 1, min: 0, max: 2}", "min: expected 1 or more"),
        ("{swarm: a, metric: ahead, target: 1, max: 2, selector: 'a=('}", 'selector: label selector "a=("'),
        ("{swarm: a, metric: nosuch, target: 1, max: 2}", 'services[0].metric: there is no external metric "nosuch"'),
        ("{swarm: a, metric: pods, target: 1, max: 2}", 'services[0].metric: there is no external metric "pods"'),
        ("{swarm: a, metric: by_namespace, target: 1, max: 2}", "take resource.namespace out of the rule"),
        ("{swarm: a, metric: ahead, target: 1, max: 2, maximum: 3}", "unknown key `maximum`"),
        ("{swarm: a, metric: ahead, target: 1, max: 2, behavior: {scale_up: {}}}", "unknown key `scale_up`"),
        ("{swarm: a, metric: ahead, target: 1, max: 2, behavior: {scaleUp: {policies: []}}}", "expected at least one"),
        (
            "{swarm: a, metric: ahead, target: 1, max: 2, behavior: {scaleDown: {stabilizationWindowSeconds: 3601}}}",
            "behavior.scaleDown: stabilizationWindowSeconds: expected 0 to 3600",
        ),
        (
            "{swarm: a, metric: ahead, value: 1, max: 2, behavior: {scaleUp: {policies: [{type: Pods, value: 0}]}}}",
            "periodSeconds",
        ),
        ("{swarm: a, metric: ahead, target: 1, max: 2}, {swarm: a, metric: ahead, target: 2, max: 2}", "scaled twice"),
    ],
)
def test_a_wrong_service_is_refused_with_its_place(settings_of: Read, service: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"scaler.*docker") as caught:
        settings_of(f"{METRICS}docker: {{services: [{service}]}}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("host: ssh://me@host", "host: expected unix:///PATH or tcp://HOST:PORT"),
        ("host: tcp://user:secret@host:2376", "host: expected unix:///PATH or tcp://HOST:PORT"),
        ("host: unix:///var/run/docker.sock, tls: {ca_file: ca.pem}", "tls goes with a tcp:// host"),
        ("host: 'tcp://h:1', tls: {cert_file: c.pem}", "expected both cert_file and key_file"),
        ("interval: 0s", "interval: expected at least 1s"),
    ],
)
def test_a_wrong_engine_is_refused(settings_of: Read, engine: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(f"docker: {{{engine}}}")
    assert message in str(caught.value)


def test_the_example_passes_check() -> None:
    done = CliRunner().invoke(command, ["--config", str(EXAMPLES / "cloudpulse.yaml")])
    assert done.exit_code == 0, done.output


def test_the_example_of_a_stack_runs_the_scaler_on_it() -> None:
    stack = yaml.safe_load((EXAMPLES / "stack.yaml").read_text())
    scaler = stack["services"]["scaler"]
    subcommand, *options = shlex.split(scaler["command"])
    assert CliRunner().invoke(cloudpulse, [subcommand, *options, "--help"]).exit_code == 0
    (mounted,) = scaler["configs"]
    assert (EXAMPLES / stack["configs"][mounted["source"]]["file"]).exists()
    assert mounted["target"] == scaler["environment"]["CLOUDPULSE_CONFIG"]
    assert scaler["deploy"]["replicas"] == 1


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker's own program on PATH")
def test_each_version_of_the_stacks_config_has_a_name_of_its_own_as_readme_sets_it() -> None:
    """Swarm refuses other content under a known name (moby#35048)."""
    (variable,) = re.findall(r"^\s*(\w+)=2 docker stack deploy -c examples/docker/stack.yaml", README, re.MULTILINE)
    assert _name_of_config({}) == "cloudpulse-1"
    assert _name_of_config({variable: "2"}) == "cloudpulse-2"


def _name_of_config(environment: dict[str, str]) -> str:
    argv = ["docker", "stack", "config", "--compose-file", EXAMPLES / "stack.yaml"]
    done = subprocess.run(argv, env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60)
    return str(yaml.safe_load(done.stdout)["configs"]["cloudpulse"]["name"])
