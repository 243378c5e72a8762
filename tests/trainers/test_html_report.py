"""`trainers report`: one page that holds the figures of a run, or of several, and loads nothing."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from trainers.cli import main
from trainers.html_report.answers import Answers, confusion
from trainers.html_report.class_sections import by_class
from trainers.html_report.elements import Html, element, table
from trainers.html_report.page import page
from trainers.metrics import ACCURACY
from trainers.settings import SETTINGS

HOSTILE = "<script>alert(1)&\"'"
VOID = {"img", "meta", "br"}


class Page(HTMLParser):
    """A parsed page; fails where a tag is not closed, or another one is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]

    def check(self) -> None:
        """It loads nothing, runs nothing, and each image decodes and says what it shows."""
        assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in self.tags}
        for tag, attributes in self.tags:
            assert not any(name.startswith("on") for name in attributes)
            for name in ("src", "href"):
                if name in attributes:
                    begins = "data:image/" if tag == "img" else "#run-"
                    assert str(attributes[name]).startswith(begins)
        for attributes in self.images():
            assert attributes["alt"]
            encoded = str(attributes["src"]).partition(";base64,")[2]
            Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))).load()


def trained(store: Path | str, out: Path, *flags: object) -> Path:
    tiny = ("--iterations", 4, "--validate-every", 2, "--val-episodes", 3, "--episodes", 8)
    tiny += ("--steps", 2, "--eval-steps", 2, "--meta-batch-size", 2)
    network = () if store == "sinusoid" else ("--filters", 4, "--query", 3)
    arguments = ("run", "--dataset", store, "--threads", 1, *network, *tiny, "--out", out, *flags)
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def runs(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs, one of which has a hostile name."""
    folder = tmp_path_factory.mktemp("runs")
    trained(grey, folder / HOSTILE)
    trained(grey, folder / "seed2", "--seed", 2)
    return folder


@pytest.fixture(scope="module")
def run_page(runs: Path) -> Page:
    result = CliRunner().invoke(main, ["report", str(runs / HOSTILE), "--episodes", "5"])
    assert result.exit_code == 0, result.output
    return Page((runs / HOSTILE / "report.html").read_text(encoding="utf-8"))


def test_the_page_of_a_run_is_whole_and_loads_nothing(run_page: Page) -> None:
    run_page.check()
    headings = [tag for tag, _ in run_page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count("h1") == 1 and headings[0] == "h1"


def test_the_page_has_the_figures_of_the_run(run_page: Page, runs: Path) -> None:
    results = json.loads((runs / HOSTILE / "results.json").read_text())
    test, mean, interval = (
        results["test"],
        *(100 * results["test"][name] for name in ("accuracy", "interval")),
    )
    assert f"{mean:.2f} ± {interval:.2f} %" in run_page.text
    assert test["fingerprint"] in run_page.text
    assert results["store"]["digest"] in run_page.text
    assert run_page.text.count("ANIL with personalized rates on") == 2  # <title> and <h1>
    assert f"over {test['episodes']} fixed episodes" in run_page.text
    for name, value in results["config"].items():
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        assert f"{name.replace('_', '-')}{shown}" in run_page.text
    for text in (*results["versions"].values(), results["hardware"]["cpu"]):
        assert text in run_page.text


def test_the_checkpoint_answers_as_in_the_run(run_page: Page, runs: Path) -> None:
    figures = json.loads((runs / HOSTILE / "test_figures.json").read_text())["figures"]
    mean = f"{100 * np.mean(figures[:5]):.2f} %"
    said = (
        f"evaluated again on the first 5 of 8 test episodes: accuracy {mean}, and the run "
        f"recorded {mean} for them. The largest difference on one episode is 0.00 %."
    )
    assert said in run_page.text
    hardest = int(np.argmin(figures))
    assert f"Episode {hardest}: {100 * figures[hardest]:.1f} % right" in run_page.text


def test_what_comes_from_files_is_escaped(run_page: Page, runs: Path) -> None:
    assert HOSTILE in run_page.text
    answers = Answers(0, (HOSTILE, "plain"), np.array([0, 1]), np.array([1, 1]))
    parsed = Page(page(HOSTILE, by_class(confusion([answers]), HOSTILE)))
    parsed.check()
    assert parsed.text.count(HOSTILE) >= 4
    assert element("b", "<", Html("<i></i>"), title='"') == '<b title="&quot;">&lt;<i></i></b>'


def test_unusual_settings_are_told_from_the_usual_ones(run_page: Page) -> None:
    rows = {
        attributes.get("title"): previous.get("class")
        for (_, previous), (tag, attributes) in zip(run_page.tags, run_page.tags[1:], strict=False)
        if tag == "th" and "title" in attributes
    }
    kinds = {name: rows[setting.help] for name, setting in SETTINGS.items() if setting.help in rows}
    assert kinds["iterations"] is kinds["val_episodes"] is kinds["steps"] is None
    assert kinds["outer_lr"] == kinds["epoch"] == kinds["lr"] == "usual"
    assert "--iterations 4" in run_page.text and "--outer-lr" not in run_page.text


def test_confusion_by_hand() -> None:
    found = confusion(
        [
            Answers(0, ("a", "b"), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])),
            Answers(1, ("c", "a"), np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0])),
        ]
    )
    assert found.classes == ("a", "b", "c")
    assert found.asked.tolist() == [4, 2, 2]
    assert found.said.tolist() == [[1, 1, 2], [0, 2, 0], [0, 0, 2]]
    assert found.met.tolist() == [[4, 2, 2], [2, 2, 0], [2, 0, 2]]
    assert found.accuracy.tolist() == [0.25, 1, 1]
    assert found.shares[0].tolist() == [0.25, 0.5, 1.0] and np.isnan(found.shares[1, 2])


def test_several_runs_are_compared_on_the_same_episodes(
    runs: Path, grey: Path, command: Callable[..., Result]
) -> None:
    other = trained(grey, Path("others").resolve() / "other-episodes", "--episode-seed", 5)
    result = command("report", runs, other, "--out", "page.html", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert [Path(row["run"]).name for row in said["runs"]] == [
        HOSTILE,
        "seed2",
        "other-episodes",
    ]
    parsed = Page(Path("page.html").read_text(encoding="utf-8"))
    parsed.check()
    figures = [
        np.array(json.loads((runs / name / "test_figures.json").read_text())["figures"])
        for name in (HOSTILE, "seed2")
    ]
    differences = figures[1] - figures[0]
    interval = 1.96 * differences.std() / np.sqrt(len(differences))
    for mean, width in (
        (figures[1].mean(), 1.96 * figures[1].std() / np.sqrt(8)),
        (differences.mean(), interval),
    ):
        assert ACCURACY.text(mean, width) in parsed.text
    assert parsed.text.count("the first") == 1 + 1 + 2  # In the note, a heading, and two rows.
    links = [attributes["href"] for tag, attributes in parsed.tags if tag == "a"]
    ids = [attributes.get("id") for tag, attributes in parsed.tags if tag == "h2"]
    assert links == ["#run-0", "#run-1", "#run-2"] and {f"run-{n}" for n in range(3)} <= set(ids)


def test_an_unfinished_run_says_how_far_it_is(runs: Path, tmp_path: Path) -> None:
    half = shutil.copytree(runs / "seed2", tmp_path / "half")
    for name in ("results.json", "test_figures.json", "rates.png"):
        (half / name).unlink()
    lines = (half / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half / "metrics.jsonl").write_text("".join(lines[:3]) + lines[3][:10])
    result = CliRunner().invoke(main, ["report", str(half)])
    assert result.exit_code == 0, result.output
    parsed = Page((half / "report.html").read_text(encoding="utf-8"))
    parsed.check()
    assert "2 of 4 iterations" in parsed.text and "not finished" in parsed.text
    (half / "metrics.jsonl").unlink()
    assert CliRunner().invoke(main, ["report", str(half)]).exit_code == 0
    assert "0 of 4 iterations" in (half / "report.html").read_text(encoding="utf-8")


def test_without_the_store_the_page_says_so(runs: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(runs / "seed2", tmp_path / "moved")
    text = (moved / "config.toml").read_text()
    gone = re.sub(r'^dataset = ".*"', 'dataset = "/no/such/store"', text, flags=re.MULTILINE)
    (moved / "config.toml").write_text(gone)
    result = CliRunner().invoke(main, ["report", str(moved)])
    assert result.exit_code == 0, result.output
    parsed = Page((moved / "report.html").read_text(encoding="utf-8"))
    parsed.check()
    assert "is left out: " in parsed.text and "/no/such/store" in parsed.text
    assert "Accuracy by class" not in parsed.text


def test_a_regression_run_shows_its_functions(tmp_path: Path) -> None:
    run = trained("sinusoid", tmp_path / "sines", "--hidden", 8, "--task-batching", "loop")
    result = CliRunner().invoke(main, ["report", str(run)])
    assert result.exit_code == 0, result.output
    parsed = Page((run / "report.html").read_text(encoding="utf-8"))
    parsed.check()
    figures = json.loads((run / "test_figures.json").read_text())["figures"]
    worst, best = (np.argsort(figures)[order][:3].tolist() for order in (np.s_[::-1], np.s_[:]))
    alts = [str(attributes["alt"]) for attributes in parsed.images()]
    for tasks in (worst, best):
        named = ", ".join(map(str, tasks))
        assert f"Predicted and true values of the test tasks {named}" in alts
    assert "Confusion" not in parsed.text


def test_a_folder_without_a_run_is_refused(command: Callable[..., Result]) -> None:
    Path("empty").mkdir()
    for name, said in (("empty", "empty holds no run"), ("absent", "absent: no such directory")):
        result = command("report", name)
        assert result.exit_code == 2 and said in result.output
        assert result.output.count("\n") == 1


def test_a_table_names_its_rows_and_columns() -> None:
    parsed = Page(table(("class", "share"), [("a", "1 %")], "Shares"))
    assert parsed.text == "Sharesclassshare" + "a1 %"
    assert [a["scope"] for tag, a in parsed.tags if tag == "th"] == ["col", "col", "row"]
