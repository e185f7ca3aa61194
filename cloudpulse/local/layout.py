"""What the local stack is made of: its files, its processes, where each answers."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from cloudpulse import config, share
from cloudpulse.local import ports
from cloudpulse.local.programs import Programs
from cloudpulse.local.stack import Part
from cloudpulse.uniquekeys import UniqueKeyLoader


def write_files(config_path: Path | None, taken: Mapping[str, int], data_dir: Path) -> None:
    """Write the config of every part into `data_dir`; `config_path` is the user's own, else the example.

    Raises ConfigError before anything is written.
    """
    source = config_path or share.path("examples", "cloudpulse.yaml")
    config.read(source)
    # Not `config.read`, which would write what variables hold, secrets among it, into the copy.
    text = source.read_text(encoding="utf-8")
    tree = yaml.load(text, Loader=UniqueKeyLoader) or {}  # noqa: S506  a SafeLoader
    tree.setdefault("prometheus", {})["url"] = f"http://localhost:{taken['prometheus']}"
    for section in ("forecaster", "alert_bridge", "scaler"):
        tree.setdefault(section, {})["data_dir"] = str(data_dir / section)
    # The bridge of this stack; a key that the file names stays, and is one of those that its own bridge asks for.
    relayed = tree["forecaster"].get("alert_bridge") or {}
    tree["forecaster"]["alert_bridge"] = {**relayed, "url": f"http://localhost:{taken['alert-bridge']}"}
    bridge = tree["alert_bridge"]
    bridge["external_url"] = f"http://localhost:{taken['alert-bridge']}"
    bridge["alertmanager"] = {
        **(bridge.get("alertmanager") or {}),
        "url": f"http://localhost:{taken['alertmanager']}",
    }
    bridge["alertmanager"].pop("urls", None)
    tree["scaler"]["keda"] = {**(tree["scaler"].get("keda") or {}), "listen": f"127.0.0.1:{taken['keda']}"}
    data_dir.mkdir(parents=True, exist_ok=True)
    copy = data_dir / "cloudpulse.yaml"
    copy.touch(mode=0o600)
    copy.chmod(0o600)  # before anything is in it: the user's own may hold secrets, and be for nobody else to read
    copy.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    for name in ("prometheus.yml", "alertmanager.yml"):
        (data_dir / name).write_text(_ported(name, taken), encoding="utf-8")


def parts(found: Programs, taken: Mapping[str, int], data_dir: Path, with_demo: bool) -> list[Part]:
    """Every process. All listen on loopback only: a local stack is nobody else's."""
    config_file = data_dir / "cloudpulse.yaml"
    storage = data_dir / ("demo" if with_demo else "") / "prometheus"
    prometheus = [
        found.prometheus,
        f"--config.file={data_dir / 'prometheus.yml'}",
        f"--storage.tsdb.path={storage}",
        "--storage.tsdb.retention.time=30d",
        f"--web.listen-address=127.0.0.1:{taken['prometheus']}",
        # Its own guess is the host's name, where nothing listens: links in alerts would lead nowhere.
        f"--web.external-url=http://localhost:{taken['prometheus']}",
        f"--web.user-assets={share.path('docs')}",  # the runbooks, at /user/runbooks/
    ]
    alertmanager = [
        found.alertmanager,
        f"--config.file={data_dir / 'alertmanager.yml'}",
        f"--storage.path={data_dir / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{taken['alertmanager']}",
        "--cluster.listen-address=",
    ]
    return [
        _service("exporter", "http", taken, config_file),
        _part("prometheus", prometheus, "http", taken, "/-/ready"),
        _part("alertmanager", alertmanager, "http", taken, "/-/ready"),
        _service("alert-bridge", "http", taken, config_file),
        _service("forecaster", "http", taken, config_file),
        _service("scaler", "https", taken, config_file),
    ]


def _service(name: str, scheme: str, taken: Mapping[str, int], config_file: Path) -> Part:
    listen = f"127.0.0.1:{taken[name]}"
    argv = [sys.executable, "-m", "cloudpulse", name, "--config", str(config_file), "--web.listen-address", listen]
    return _part(name, argv, scheme, taken, "/-/healthy")


def _part(name: str, argv: list[str], scheme: str, taken: Mapping[str, int], ready: str) -> Part:
    url = f"{scheme}://localhost:{taken[name]}"
    return Part(name, argv, f"{url}{ready}", url)


def _ported(name: str, taken: Mapping[str, int]) -> str:
    """A file of `prometheus/`, with this stack's ports and the rules where they are."""
    text = share.path("prometheus", name).read_text(encoding="utf-8")
    moved = {ports.DEFAULTS[part]: port for part, port in taken.items()}
    # All at once: one part may have been given the default of another.
    text = re.sub(r"\blocalhost:(\d+)", lambda found: f"localhost:{moved.get(int(found[1]), found[1])}", text)
    return text.replace("rules/*.yml", str(share.path("prometheus", "rules", "*.yml")))


def environment() -> Mapping[str, str]:
    """What the processes get: ours, and output that is written as it comes."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
