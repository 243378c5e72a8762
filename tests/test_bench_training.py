"""The training benchmark, at toy size: all compute the same gradient, and ratios are by hand."""

import json
from pathlib import Path
from typing import Any

import bench_training
import numpy as np
import pytest
from click.testing import CliRunner, Result
from training_bench import report
from training_bench.network import flops_of_iteration
from training_bench.rows import Choice, Row, variant
from training_bench.running import Group, Measured, Rounds, difference
from training_bench.setting import Setting

from episodes.errors import UsageError
from trainers.catalog import ALGORITHMS

PUBLISHED = Path(__file__).parent.parent / "docs" / "results"
TOY = ("--way", "2", "--shot", "1", "--query", "1", "--image-size", "16", "--filters", "4")
SMALL = (*TOY, "--steps", "1", "--meta-batch-size", "2", "--threads", "1", "--rounds", "1")
FIELDS = {
    *("name", "algo", "implementation", "allocator", "lr", "precision", "settings", "version"),
    *("seconds", "median", "min", "max", "tasks_per_second", "gflops", "peak_mb", "gpu_peak_mb"),
    *("others", "difference", "times_peer", "times_peer_as_started", "is_streaming"),
    *("steady_seconds", "evaluation_seconds"),
}


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(bench_training.main, arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The benchmark's folder, its JSON and its table, of this library and higher on ANIL."""
    pytest.importorskip("higher")
    folder = tmp_path_factory.mktemp("bench")
    told = invoked(
        *("--algo", "anil", "--peers", "higher", "--allocator", "tuned", "--evaluate", "1"),
        *("--variant", "no_such_setting=1", *SMALL, "--json", str(folder / "run.json")),
    )
    assert told.exit_code == 0, told.output
    return folder, json.loads((folder / "run.json").read_text()), told.output


def test_every_row_is_timed_and_has_the_same_gradient(run: tuple[Path, dict, str]) -> None:
    (group,) = run[1]["algorithms"]
    rows = {row["name"]: row for row in group["rows"]}
    assert rows.keys() == {"trainers, fixed", "higher"}
    for row in rows.values():
        assert row.keys() >= FIELDS
        assert len(row["seconds"]) == 1 and 0 < row["min"] <= row["median"] <= row["max"]
        assert row["tasks_per_second"] == pytest.approx(2 / row["median"], rel=0.01)
        assert row["peak_mb"] > 50
        assert row["difference"] < 1e-8
    assert rows["trainers, fixed"]["evaluation_seconds"] > 0
    assert rows["higher"]["version"] is not None
    assert min(run[1]["peaks_gflops"].values()) > 0


def test_what_could_not_be_measured_is_told(run: tuple[Path, dict, str]) -> None:
    (group,) = run[1]["algorithms"]
    ((name, reason),) = group["skipped"].items()
    assert name == "trainers, fixed, no_such_setting=1, tuned allocator"
    assert reason == "unknown setting 'no_such_setting'"
    assert f"Not measured: {name}: {reason}" in run[2]


def test_table_and_picture_are_made_again_from_the_json(
    run: tuple[Path, dict, str], tmp_path: Path
) -> None:
    outputs = ("--table", str(tmp_path / "run.md"), "--plot", str(tmp_path / "run.png"))
    told = invoked("--from", str(run[0] / "run.json"), *outputs)
    assert told.exit_code == 0, told.output
    assert report.table(run[1]) in (tmp_path / "run.md").read_text()
    assert told.output.strip() in run[2]
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("--algo", "mmal"), "maml"),
        (("--lr", "personalised"), "personalized"),
        (("--peers", "learn2lern"), "learn2learn"),
        (("--allocator", "tune"), "tuned"),
        (("--precision", "bf6"), "bf16"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    arguments: tuple[str, str], nearest: str
) -> None:
    told = invoked(*arguments)
    assert told.exit_code == 2 and f"did you mean '{nearest}'" in told.output


@pytest.mark.parametrize("text", ["batched", "=1", "steps=many", "compile=1"])
def test_a_variant_is_settings_with_values(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        variant(text)
    assert variant("steps=3,compile=true") == {"steps": 3, "compile": True}


def test_every_algorithm_of_the_catalog_has_rows_and_peers_where_they_have_it() -> None:
    choice = Choice(tuple(ALGORITHMS), ("fixed", "personalized"), precisions=("fp32", "bf16"))
    names = {algo: [row.name for row in choice.rows(algo, "cpu", True)] for algo in ALGORITHMS}
    assert all(names.values())
    assert "trainers, none" in names["protonet"] and "higher" not in names["protonet"]
    assert "trainers, personalized, bf16" in names["maml"] and "higher, bf16" not in names["maml"]
    assert names["anil"].count("learn2learn, one pass") == 2  # Under either allocator.
    assert names["maml"].count("trainers, fixed, its stream") == 1
    only = Choice(only=("higher",)).rows("maml", "cpu", False)
    assert {row.implementation for row in only} == {"higher"}


def measured(row: Row, *seconds: float, gradient: float | None = 0.0) -> Measured:
    answer = {"version": None, "peak_bytes": 2_000_000, "gpu_peak_bytes": None}
    return Measured(row, list(seconds), [0.0] * len(seconds), answer, gradient)


def test_ratios_by_hand() -> None:
    ours = Row("maml", "trainers", "tuned")
    streaming = Row("maml", "trainers", "tuned", is_streaming=True)
    rows = [
        measured(Row("maml", "learn2learn", "default"), 10.0, 30.0, 20.0),
        measured(Row("maml", "learn2learn", "tuned"), 6.0, 2.0, 4.0, gradient=1e-3),
        measured(ours, 1.0, 2.0, 4.0),
        measured(streaming, 2.0, 2.0, 5.0, gradient=None),
        measured(Row("maml", "higher", "default"), 5.0, 60.0, 20.0),
    ]
    rows[2].steady_seconds = 50.0
    group = Group("maml", rows, {"torchopt": "not installed"}, 8_000_000_000)
    results = report.as_json(Setting(), Rounds(3, steady=100), {"fp32": 350.0}, [group])
    system, tuned, own, stream, other = results["algorithms"][0]["rows"]
    assert (system["times_peer"], system["times_peer_as_started"]) == (1, 1)
    assert (tuned["times_peer"], tuned["times_peer_as_started"]) == (1, 5)  # of 10/6, 30/2, 20/4
    assert own["times_peer"] == 1  # of 6/1, 2/2, 4/4
    assert own["times_peer_as_started"] == 10  # of 10/1, 30/2, 20/4
    assert other["times_peer"] == 1  # of 10/5, 30/60, 20/20
    assert stream["of_constant"] == pytest.approx(0.8)  # of 1/2, 2/2, 4/5
    assert "of_constant" not in own
    assert (own["median"], own["min"], own["max"]) == (2, 1, 4)
    assert (own["tasks_per_second"], own["gflops"], own["peak_mb"]) == (2, 4, 2)
    table = report.table(results)
    assert "| **trainers, fixed** | tuned | 2 (1-4) | 2 | 1.00 | 10.00 | 4 | 2 | yes (0e+00) |" in (
        table
    )
    assert "| NO (1e-03) |" in table and "| not compared |" in table
    assert "Data: trainers, fixed, its stream, tuned allocator: 0.800" in table
    assert "2 iterations/s over 100; 60,000 take 500 minutes" in table
    assert "Not measured: torchopt: not installed" in table


def test_a_row_is_compared_with_the_peer_in_its_precision_else_in_fp32() -> None:
    def row(name: str, precision: str) -> dict[str, Any]:
        return Row("maml", name, "tuned", precision=precision).as_json()

    peers = [row("learn2learn", "fp32"), row("learn2learn", "tf32"), row("higher", "bf16")]
    for precision, expected in (("fp32", "fp32"), ("tf32", "tf32"), ("bf16", "fp32")):
        found = report.baseline(peers, row("trainers", precision), "tuned")
        assert found is not None and found["precision"] == expected
    assert report.baseline(peers, row("trainers", "fp32"), "default") is None


def test_differences_of_gradients_by_hand() -> None:
    expected = {"a": np.array([1.0, -4.0]), "b": np.zeros(2)}
    assert difference({"a": np.array([1.0, -3.0])}, expected) == 0.25
    assert difference({**expected, "c": np.array([2.0])}, expected) == 0.5


def test_operations_of_an_iteration_by_hand() -> None:
    setting = Setting(
        way=2, shot=1, query=3, image_size=16, channels=1, filters=2, steps=2, meta_batch_size=3
    )
    # A 3x3 convolution's forward pass: 2 * 9 * inputs * outputs * pixels; four maps of 16, 8, 4, 2.
    forward = 18 * (1 * 2 * 256 + 2 * 2 * 64 + 2 * 2 * 16 + 2 * 2 * 4)
    first_layer, head = 18 * 1 * 2 * 256, 2 * 2 * 2
    # Backward of a convolution: as much for the weights and as much for the inputs, which the first
    # layer's do not need; of the head likewise.
    whole = 3 * (forward + head) - first_layer
    images = 2 * 2 + 6  # Two steps on the support set, then the query set.
    assert flops_of_iteration(setting, "fomaml") == 3 * images * whole
    second_order = flops_of_iteration(setting, "maml")
    assert second_order is not None and second_order > 1.5 * 3 * images * whole
    assert flops_of_iteration(setting, "protonet") is None


def test_the_published_table_is_that_of_the_published_run() -> None:
    run = json.loads((PUBLISHED / "training.json").read_text())
    assert report.table(run) in (PUBLISHED / "training.md").read_text()
