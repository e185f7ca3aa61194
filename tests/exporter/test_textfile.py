from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from cloudpulse import exposition, names
from cloudpulse.negotiation import OPENMETRICS, TEXT, Format
from cloudpulse.testing import captured_logs
from exporter import textfiles
from exporter.collectors.textfile import TextfileCollector
from exporter.config import TextfileSettings
from exporter.textformat import Written, families

ERROR = names.TEXTFILE_ERROR.name
MTIME = names.TEXTFILE_MTIME.name


def _collector(*directories: Path | str, **settings: int) -> TextfileCollector:
    return TextfileCollector(TextfileSettings(directories=tuple(map(str, directories)), **settings))


def _page(collector: TextfileCollector) -> list[str]:
    """The lines of what it shows that are samples, sorted."""
    lines = exposition.encode(collector.collect()).decode().splitlines()
    return sorted(line for line in lines if not line.startswith("#"))


def _warnings(collector: TextfileCollector) -> list[tuple[str, str]]:
    with captured_logs() as lines:
        _page(collector)
    return [(Path(line["file"]).name, line.get("problem", line["event"])) for line in lines]


def test_without_a_directory_nothing_is_shown() -> None:
    assert _page(_collector()) == []


def test_a_file_is_shown_with_when_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text('jobs{queue="x"} 3\n')
    (tmp_path / "notes.txt").write_text("not for us\n")
    (tmp_path / "b.prom.4242").write_text("half wri")
    os.utime(tmp_path / "a.prom", (5, 1000.5))
    assert _page(_collector(tmp_path)) == [
        f'{MTIME}{{file="{tmp_path}/a.prom"}} 1000.5',
        f"{ERROR} 0.0",
        'jobs{queue="x"} 3.0',
    ]


def test_directories_may_be_several_and_patterns(tmp_path: Path) -> None:
    for place in ("one", "two/metrics", "three/metrics"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.prom").write_text(f"from_{place.partition('/')[0]} 1\n")
    shown = _page(_collector(tmp_path / "one", tmp_path / "t*" / "metrics"))
    assert [line for line in shown if line.startswith("from_")] == ["from_one 1.0", "from_three 1.0", "from_two 1.0"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("jobs 3 1395066363000\n", "line 1: a timestamp"),
        ("fine 1\njobs\n", "line 2: expected name"),
        ("cloudpulse_node_load1 3\n", "cloudpulse_node_load1 is a series of the exporter itself"),
        ("process_cpu_seconds_total 3\n", "is a series of the exporter itself"),
        ('process_restarts_total{name="web"} 3\n', None),
        ("up 1\n", "up is what Prometheus itself says of every scrape"),
        ("# TYPE cloudpulse_node_swap histogram\ncloudpulse_node_swap_count 1\n", None),
        ("# TYPE cloudpulse_node_cpu histogram\ncloudpulse_node_cpu_sum 1\n", "cloudpulse_node_cpu_count is a series"),
    ],
)
def test_a_file_is_refused_as_a_whole_and_the_others_are_shown(tmp_path: Path, text: str, problem: str | None) -> None:
    (tmp_path / "a.prom").write_text(text)
    (tmp_path / "b.prom").write_text("other 1\n")
    collector = _collector(tmp_path)
    shown = _page(collector)
    assert "other 1.0" in shown
    assert f"{ERROR} {0.0 if problem is None else 1.0}" in shown
    assert len([line for line in shown if line.startswith(MTIME)]) == (2 if problem is None else 1)
    if problem is not None:
        assert not [line for line in shown if line.startswith(("fine", "jobs", "process_", "up"))]
        ((file, said),) = _warnings(_collector(tmp_path))
        assert file == "a.prom"
        assert problem in said


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("jobs 1\n", "jobs 2\n", "a series of jobs is in another file, too, such as"),
        (
            "# TYPE jobs gauge\njobs 1\n",
            '# TYPE jobs counter\njobs{a="b"} 2\n',
            "jobs is a counter here, but a gauge in",
        ),
        (
            "# TYPE jobs summary\njobs_sum 1\n",
            "# TYPE jobs_sum gauge\njobs_sum 2\n",
            "jobs_sum is also a name of jobs in",
        ),
    ],
)
def test_of_two_files_that_clash_the_first_is_shown(tmp_path: Path, first: str, second: str, problem: str) -> None:
    (tmp_path / "a.prom").write_text(first)
    (tmp_path / "b.prom").write_text(second)
    collector = _collector(tmp_path)
    ((file, said),) = _warnings(collector)
    assert file == "b.prom"
    assert problem in said
    assert str(tmp_path / "a.prom") in said
    shown = _page(collector)
    assert f"{ERROR} 1.0" in shown
    assert [line for line in shown if line.startswith("jobs")] == [first.splitlines()[-1] + ".0"]


def test_a_family_may_be_in_two_files_and_has_one_help(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text('# HELP jobs Jobs.\njobs{queue="x"} 1\n')
    (tmp_path / "b.prom").write_text('# HELP jobs Tasks.\njobs{queue="y"} 2\n')
    collector = _collector(tmp_path)
    ((file, said),) = _warnings(collector)
    assert (file, said) == ("b.prom", f"another HELP of jobs than in {tmp_path}/a.prom, whose is shown")
    text = exposition.encode(collector.collect()).decode()
    assert f"{ERROR} 0.0" in text
    assert '# HELP jobs Jobs.\n# TYPE jobs untyped\njobs{queue="x"} 1.0\njobs{queue="y"} 2.0\n' in text


def test_a_problem_is_said_once_and_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a.prom"
    file.write_text("jobs\n")
    collector = _collector(tmp_path)
    assert len(_warnings(collector)) == 1
    assert _warnings(collector) == []
    file.write_text("jobs 5\n")
    assert _warnings(collector) == [("a.prom", "textfile fine again, or gone")]
    assert _warnings(collector) == []


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(text: str) -> list[Written]:
        read.append(text)
        return families(text)

    monkeypatch.setattr(textfiles, "families", counted)
    file, temporary = tmp_path / "a.prom", tmp_path / "a.prom.new"
    file.write_text("jobs 1\n")
    collector = _collector(tmp_path)
    for _ in range(3):
        assert "jobs 1.0" in _page(collector)
    assert read == ["jobs 1\n"]
    before = file.stat()
    temporary.write_text("jobs 2\n")
    os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size and time, but another file
    temporary.rename(file)
    assert "jobs 2.0" in _page(collector)
    file.unlink()
    assert _page(collector) == [f"{ERROR} 0.0"]
    assert read == ["jobs 1\n", "jobs 2\n"]


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.prom")
    (tmp_path / "folder.prom").mkdir()
    (tmp_path / "device.prom").symlink_to("/dev/zero")
    (tmp_path / "nothing.prom").symlink_to("/nowhere")
    (tmp_path / "linked.prom").symlink_to(tmp_path / "data")
    (tmp_path / "data").write_text("jobs 1\n")
    collector = _collector(tmp_path)
    assert sorted(_warnings(collector)) == [
        (f"{name}.prom", "not a regular file") for name in ("device", "folder", "pipe")
    ]
    assert f"{ERROR} 1.0" in _page(collector)
    assert "jobs 1.0" in _page(collector)  # as Kubernetes mounts a ConfigMap


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text("jobs 1\n" + "#" * 100 + "\n")
    ((_, said),) = _warnings(_collector(tmp_path, max_file_bytes=100))
    assert said == "larger than 100 bytes, the config's textfile.max_file_bytes"
    assert _warnings(_collector(tmp_path, max_file_bytes=108)) == []


def test_files_over_the_limit_for_all_of_them_are_refused_and_shown_once_there_is_room(tmp_path: Path) -> None:
    """However many files there are, they can't take the host's memory."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.prom").write_text(f"{name}_jobs 1\n")
    collector = _collector(tmp_path, max_total_bytes=20)
    ((file, said),) = _warnings(collector)
    assert (file, said) == ("c.prom", "with those before it larger than the config's textfile.max_total_bytes")
    assert [line for line in _page(collector) if "_jobs" in line] == ["a_jobs 1.0", "b_jobs 1.0"]
    (tmp_path / "a.prom").unlink()
    assert _warnings(collector) == [("c.prom", "textfile fine again, or gone")]
    assert [line for line in _page(collector) if "_jobs" in line] == ["b_jobs 1.0", "c_jobs 1.0"]


@pytest.mark.parametrize("form", [TEXT, OPENMETRICS], ids=lambda form: form.content_type)
def test_nothing_is_kept_of_a_file_that_another_has_replaced(tmp_path: Path, form: Format) -> None:
    collector = _collector(tmp_path)

    def replaced(version: int) -> None:
        (tmp_path / "a.prom").write_text(
            f"# HELP jobs {version}{'x' * 200_000}\njobs 1\njobs{version}{'x' * 200_000} 1\n"
        )
        exposition.encode(collector.collect(), form)

    replaced(0)
    tracemalloc.start()
    try:
        replaced(1)
        before, _ = tracemalloc.get_traced_memory()
        for version in range(2, 12):
            replaced(version)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000


@pytest.mark.parametrize("missing", ["gone", "gone/*/metrics"])
def test_a_directory_that_is_not_there_is_a_problem(tmp_path: Path, missing: str) -> None:
    collector = _collector(tmp_path / missing)
    ((_, said),) = _warnings(collector)
    assert said == "No such file or directory"
    assert _page(collector) == [f"{ERROR} 1.0"]


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_bytes('jobs{name="größe"} 1\n'.encode("latin-1"))
    assert _warnings(_collector(tmp_path)) == [("a.prom", "not UTF-8 text")]


def test_a_counter_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text("# TYPE a_total counter\na_total 1\n# TYPE b counter\nb 2\n")
    text = exposition.encode(_collector(tmp_path).collect()).decode()
    assert "# TYPE a_total counter\na_total 1.0\n" in text
    assert "# TYPE b untyped\nb 2.0\n" in text
