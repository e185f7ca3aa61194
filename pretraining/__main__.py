"""Train the networks that CloudPulse ships, or those that the benchmark scores a data set with: they never saw it.

    python -m pretraining --data ../shared/data                      # -> forecaster/models/weights/
    python -m pretraining --data ../shared/data --leave-out each     # -> benchmarks/weights/without-*/

Windows are made once and kept in --cache. About 15 minutes on two quiet cores for the windows, 3 minutes a network.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from forecaster.models import weights
from forecaster.models.lesson import Lesson, joined
from pretraining.recorded import FINE_STEP, SOURCES, STEP, recorded
from pretraining.windows import KINDS, Pool, Window, lessons, plain

HOUR = 3600
PLAIN = {
    ("vm-bitbrains", STEP): 7400,
    ("services-jumpstarter", STEP): 5760,
    ("apps-crane", STEP): 700,
    ("apps-crane", FINE_STEP): 200,
    ("cloud-monitoring", STEP): 400,
    ("cloud-monitoring", FINE_STEP): 130,
    ("cloud-monitoring", HOUR): 1000,
    ("web", STEP): 700,
    ("web", FINE_STEP): 180,
    ("cluster", STEP): 400,
}
"""Windows of each (source, step): many where there are many series, few where they would only repeat themselves."""
KIND_WINDOWS, KIND_ROUNDS = 6000, 4
KINDS_SHARE = 1.5
"""Bent, crossed and invented windows are drawn so many times as often, all together, as plain ones."""
BATCHES, RATE = 3500, 2e-3
Found = list[tuple[frozenset[str], Lesson]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("build/pretraining"))
    parser.add_argument("--leave-out", choices=[*SOURCES, "each"], help="a data set that isn't learned from")
    options = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))  # for the workers
    options.cache.mkdir(parents=True, exist_ok=True)
    jobs = [("plain", 0), *((kind, seed) for seed in range(KIND_ROUNDS) for kind in KINDS)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(_made, *zip(*((options.data, options.cache, *job) for job in jobs), strict=True)))
        left_out = SOURCES if options.leave_out == "each" else [options.leave_out]
        for line in pool.map(_train, [parts] * len(left_out), left_out):
            print(line, flush=True)


def without(found: Found, left_out: str | None) -> Found:
    """The lessons that nothing of the data set `left_out` went into."""
    return [(sources, lesson) for sources, lesson in found if left_out not in sources]


def _made(data: Path, cache: Path, kind: str, seed: int) -> Path:
    """Lessons of one kind, from the cache or made now."""
    path = cache / f"{kind}-{seed}.npz"
    if not path.exists():
        began = time.perf_counter()
        random = np.random.default_rng([seed, *kind.encode()])
        pool = Pool(recorded(data))
        windows = plain(pool, PLAIN, random) if kind == "plain" else _several(kind, pool, random)
        _keep(path, list(lessons(windows, random)))
        print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return path


def _several(kind: str, pool: Pool, random: np.random.Generator) -> list[Window]:
    return [KINDS[kind](pool, random) for _ in range(KIND_WINDOWS)]


def _train(parts: list[Path], left_out: str | None) -> str:
    from forecaster.models import torch_training

    began = time.perf_counter()
    lesson = _balanced([without(_kept(part), left_out) for part in parts])
    parameters = torch_training.train(lesson, torch_training.Plan(BATCHES, RATE))
    folder = Path(f"benchmarks/weights/without-{left_out}") if left_out else weights.FOLDER
    path = folder / "lstm.safetensors"
    sources = [source for source in SOURCES if source != left_out]
    weights.write(path, parameters, {"sources": sources, "windows": len(lesson.odds)})
    return f"{path}: {len(lesson.odds)} windows, {time.perf_counter() - began:.0f} s"


def _balanced(kinds: list[Found]) -> Lesson:
    """Plain windows by the root of how many their data set has, the other kinds by `KINDS_SHARE`."""
    sizes: dict[frozenset[str], int] = {}
    for sources, lesson in kinds[0]:
        sizes[sources] = sizes.get(sources, 0) + len(lesson.odds)
    found = [lesson.scaled(sizes[sources] ** -0.5) for sources, lesson in kinds[0]]
    whole = sum(float(lesson.odds.sum()) for lesson in found)
    for kind in kinds[1:]:
        windows = sum(len(lesson.odds) for _, lesson in kind)
        found += [lesson.scaled(KINDS_SHARE * whole / windows / (len(kinds) - 1)) for _, lesson in kind]
    return joined(found)


def _keep(path: Path, found: Found) -> None:
    """One array a field; each window says which group of sources it is of."""
    groups = sorted({sources for sources, _ in found}, key=sorted)
    arrays = {name: getattr(joined([lesson for _, lesson in found]), name) for name in Lesson.__annotations__}
    of = np.concatenate([np.full(len(lesson.odds), groups.index(sources)) for sources, lesson in found])
    np.savez(path, groups=["+".join(sorted(sources)) for sources in groups], of=of, **arrays)


def _kept(path: Path) -> Found:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in Lesson.__annotations__}
        groups, of = stored["groups"], stored["of"]
    return [
        (frozenset(str(name).split("+")) - {""}, Lesson(**{key: array[of == g] for key, array in arrays.items()}))
        for g, name in enumerate(groups)
    ]


if __name__ == "__main__":
    main()
