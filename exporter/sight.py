"""What this process may not see of the host, found by trying: it says so once, at the start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from cloudpulse import logs
from exporter.config import ExporterSettings
from exporter.processes import UNKNOWN
from exporter.system import System, this_system

_SHOWN = 3

log = logs.get(__name__)


def report(settings: ExporterSettings) -> None:
    """Log what is hidden, and that nothing is where one might expect it. May wait for a filesystem that hangs."""
    found = unseen(settings, this_system(settings.paths))
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    if found:
        log.warning("some things can't be seen by this user", uid=user, **found)
    elif user != 0:
        log.info("nothing that the collectors show is hidden from this user", uid=user)


def unseen(settings: ExporterSettings, system: System) -> Mapping[str, str]:
    """By collector: what it can't see, and why. Only of collectors that are on."""
    looks: dict[str, tuple[tuple[str, ...], Callable[[], str]]] = {
        "processes": (("processes", "top"), lambda: _processes(system)),
        "filesystem": (("filesystem",), lambda: _filesystems(settings, system)),
    }
    found = {}
    for about, (collectors, look) in looks.items():
        if set(collectors) & set(settings.collectors.on):
            try:
                found[about] = look()
            except OSError as error:
                found[about] = str(error)
    return {about: text for about, text in found.items() if text}


def _processes(system: System) -> str:
    processes = system.processes()
    if processes and processes[0].pid > 1:  # they are listed by pid, and the first is always there
        return f"only {len(processes)} of them: /proc hides those of others (mounted with hidepid)"
    hidden = sum(process.state == UNKNOWN or process.cpu_seconds is None for process in processes)
    return f"{hidden} of {len(processes)} hide their state, CPU and memory" if hidden else ""


def _filesystems(settings: ExporterSettings, system: System) -> str:
    places = list(_closed(settings, system))
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return f"no permission to ask {', '.join(places[:_SHOWN])}{more}" if places else ""


def _closed(settings: ExporterSettings, system: System) -> Iterator[str]:
    places, kinds = settings.filesystem.excluded_mount_points, settings.filesystem.excluded_types
    for mount in {mount.mount_point: mount for mount in system.mounts()}.values():
        if mount.mount_point not in places and mount.kind not in kinds and hasattr(os, "statvfs"):
            try:
                os.statvfs(mount.reached)
            except PermissionError:
                yield mount.mount_point
            except OSError:  # broken, for root as well: the collector says so
                continue
