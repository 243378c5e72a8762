"""The streaming benchmark and the soak, at toy size: what they compare is the same, and is told."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import bench_streaming
import numpy as np
import pytest
import soak
from click.testing import CliRunner
from streaming_bench import report
from streaming_bench.limits import memcpy, memcpy_hot, take
from streaming_bench.running import TOOLS
from streaming_bench.task import Feed, Task, batch_size, images_in

import episodes

TASK = Task("glyphs", way=5, shot=1, query=3)
PUBLISHED = TOOLS.parent / "docs" / "results"
IMAGE_SHAPE = (28, 28, 1)
LIMITS = {"memcpy in C, 1 thread", "memcpy in C, 2 threads", "numpy.take, 1 thread"}
ROWS = {"stream.batches, threads=0", "stream.batches, threads=1", "stream.loader, threads=1"}
FIELDS = {
    *("name", "kind", "threads", "dtype", "first_delivery", "version", "eps", "median", "min"),
    *("max", "cpu_us", "others", "images_delivered", "first_episode_ms", "private_mb"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The benchmark's folder and its JSON, of a run of every row of glyphs."""
    folder = tmp_path_factory.mktemp("bench")
    episodes.open("glyphs")
    arguments = ["glyphs:5:1:3", "--rounds", "2", "--seconds", "0.02", "--starts", "1"]
    outputs = ["--json", folder / "run.json", "--table", folder / "run.md", "--plot"]
    told = CliRunner().invoke(
        bench_streaming.main,
        [*arguments, "--patience", "0", *map(str, outputs), str(folder / "run.png")],
        catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    return folder, json.loads((folder / "run.json").read_text())


def test_all_rows_deliver_whole_episodes_of_the_same_images(run: tuple[Path, dict]) -> None:
    (task,) = run[1]["tasks"]
    assert (task["images"], tuple(task["image_shape"])) == (20, IMAGE_SHAPE)
    for row in task["rows"]:
        assert {tuple(shape[-3:]) for shape in row["first_delivery"]} <= {IMAGE_SHAPE, (1, 28, 28)}
        images = sum(math.prod(shape[:-3]) for shape in row["first_delivery"])
        assert images > 0 and images % 20 == 0
        assert len(row["images_delivered"]) == 2
        assert all(images > 0 and images % 20 == 0 for images in row["images_delivered"])


def test_the_json_tells_of_every_row_what_was_measured_or_why_not(run: tuple[Path, dict]) -> None:
    _, results = run
    assert {"made", "machine", "rounds", "seconds", "tasks"} <= set(results)
    (task,) = results["tasks"]
    rows = {row["name"]: row for row in task["rows"]}
    assert rows.keys() | task["skipped"].keys() >= LIMITS | ROWS | {"stream[i]"}
    assert rows.keys() >= ROWS
    for row in rows.values():
        assert set(row) >= FIELDS
        assert row["min"] <= row["median"] <= row["max"]
        assert len(row["eps"]) == 2 and min(row["eps"]) > 0
        assert row["kind"] == "limit" or row["of_limit"] > 0
        assert row["limit"].endswith("2 threads" if row["threads"] == 2 else "1 thread")


def test_table_and_picture_are_made_again_from_the_json(
    run: tuple[Path, dict], tmp_path: Path
) -> None:
    folder, results = run
    told = CliRunner().invoke(
        bench_streaming.main,
        [
            *("--from", str(folder / "run.json"), "--table", str(tmp_path / "again.md")),
            *("--plot", str(tmp_path / "run.png")),
        ],
    )
    assert told.exit_code == 0, told.output
    table = (tmp_path / "again.md").read_text()
    assert table == (folder / "run.md").read_text()
    for row in results["tasks"][0]["rows"]:
        name, _, threads = row["name"].partition(", ")
        assert f"{row['median']:,.0f} ({row['min']:,.0f}-{row['max']:,.0f})" in table
        assert name in table and threads in table
    for picture in (folder / "run.png", tmp_path / "run.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("limit", [memcpy, memcpy_hot, take])
def test_limits_copy_the_rows_of_the_streams_episodes(limit: Callable[[Task, int], Feed]) -> None:
    stream = episodes.open("glyphs").stream("train", 5, 1, 3, seed=1)
    deliveries = limit(TASK, 1)()
    (copied,) = next(deliveries)
    last = copied.reshape(-1, 20, *IMAGE_SHAPE).shape[0] - 1
    expected = stream[last]
    assert np.array_equal(
        copied.reshape(-1, 20, *IMAGE_SHAPE)[last],
        np.concatenate((expected.support_images, expected.query_images)),
    )


def test_images_are_counted_and_those_of_another_shape_refused() -> None:
    batch = np.zeros((2, 25, 28, 28, 1)), np.zeros((2, 75, 1, 28, 28))
    assert images_in(batch, IMAGE_SHAPE) == 200
    with pytest.raises(ValueError, match=r"\(28, 28, 3\); expected \(28, 28, 1\)"):
        images_in((np.zeros((25, 28, 28, 3)),), IMAGE_SHAPE)


def test_a_task_is_a_store_and_three_numbers() -> None:
    assert Task.parse("a:b/c:5:1:15") == Task("a:b/c", 5, 1, 15)
    assert batch_size(Task("mini", 5, 5, 15), (84, 84, 3)) == 2
    for text in ("glyphs", "glyphs:5:1", ":5:1:15", "glyphs:5:one:15"):
        with pytest.raises(ValueError, match="expected STORE:WAY:SHOT:QUERY"):
            Task.parse(text)


@pytest.mark.parametrize("arguments", [[], ["glyphs:5:1:15", "--from", __file__]])
def test_the_benchmark_wants_tasks_or_an_earlier_run(arguments: list[str]) -> None:
    told = CliRunner().invoke(bench_streaming.main, arguments)
    assert told.exit_code == 2 and "--from JSON" in told.output


def test_a_short_soak_is_flat_and_a_growth_beyond_the_slack_fails(tmp_path: Path) -> None:
    arguments = ["glyphs", "--episodes", "400", "--json", str(tmp_path / "soak.json")]
    told = CliRunner().invoke(soak.main, arguments)
    assert told.exit_code == 0, told.output
    results = json.loads((tmp_path / "soak.json").read_text())
    assert results["episodes"] == 400 and len(results["looks"]) == 100
    assert results["growth"]["descriptors"] <= 2 and results["growth"]["threads"] == 0
    told = CliRunner().invoke(soak.main, [*arguments, "--slack-files", "-1000"])
    assert told.exit_code == 1 and "it grows" in told.output


def test_growth_is_the_last_fifth_over_the_first() -> None:
    looks = [soak.Look(n, n, 10.0 + n, 0.0, 8 + (n == 2), 2) for n in range(10)]
    assert soak.grown(looks, "private_mb") == 8
    assert soak.grown(looks, "descriptors") == 0


def test_the_published_table_is_that_of_the_published_run() -> None:
    run = json.loads((PUBLISHED / "streaming.json").read_text())
    assert report.table(run) in (PUBLISHED / "streaming.md").read_text()
    assert (PUBLISHED / "streaming.png").read_bytes().startswith(b"\x89PNG")


def test_the_tools_are_where_the_workers_look_for_them() -> None:
    assert (TOOLS / "streaming_bench" / "worker.py").is_file()
