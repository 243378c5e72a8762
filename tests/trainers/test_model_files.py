"""Exported models: loaded, they adapt as the run's own evaluation does, and damage is named."""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result

import episodes
from episodes.errors import EpisodesError, UsageError
from episodes.sealed import read_sealed, sealed
from trainers import config, learner, load, model, model_files, run_directory
from trainers.cli import main
from trainers.metrics import balanced_cross_entropy
from trainers.outer_state import OuterState, load_weights
from trainers.recorded import read_config
from trainers.run import Run
from trainers.sources import open_source
from trainers.types import each_task

Arrays = tuple[np.ndarray, np.ndarray]
FEW_STEPS = {"steps": 2, "eval_steps": 3}
ANIL = {"algo": "anil", "lr": "fixed", "first_order": True, **FEW_STEPS}
MAML = {**ANIL, "algo": "maml"}
KINDS = {
    "anil-batch": {**ANIL, "lr": "personalized"},
    "maml-support": {**MAML, "lr": "meta-sgd", "bn": "support"},
    "maml-running": {**MAML, "bn": "running"},
    "maml-per-step": {**MAML, "lr": "lslr", "bn": "per-step", "adapt_bn": False},
    "reptile-running": {"algo": "reptile", "train_shot": 1, "bn": "running", **FEW_STEPS},
    "imaml-running": {"algo": "imaml", "bn": "running", **FEW_STEPS},
    "mt-net": {**MAML, "algo": "mt-net"},
    "protonet": {"algo": "protonet"},
    "r2d2-support": {"algo": "r2d2", "bn": "support"},
}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def begun(grey: Path, tmp_path: Path) -> Callable[..., Path]:
    """A run of settings on the grey store, stopped before its first iteration, with weights and
    meta-parameters that are not as they begin."""

    def begin(settings: Mapping[str, object]) -> Path:
        source, tiny = open_source(str(grey)), {"filters": 4, "query": 2, "threads": 1}
        given = {"dataset": str(grey), "split": "quarters", **tiny, **settings}
        run = Run.over(source, config.complete(given, {}))
        directory = run_directory.create(tmp_path / f"run{len(list(tmp_path.iterdir()))}", "")
        directory.begin(run.to_toml())
        directory.checkpoints.mkdir()
        state = OuterState(run.config, run.learner)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in state.tensors.values():
                tensor.add_(0.01 * torch.rand(tensor.shape, generator=generator))
        state.save(directory.last_checkpoint)
        return directory.path

    return begin


@pytest.fixture(scope="module")
def trained(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ANIL."""
    out = tmp_path_factory.mktemp("runs") / "run"
    flags = ("--lr", "fixed", "--first-order", "--steps", 2, "--eval-steps", 3)
    tiny = ("--filters", 4, "--query", 2, "--meta-batch-size", 2, "--episodes", 2, "--threads", 1)
    short = ("--iterations", 1, "--val-episodes", 1, "--out", out)
    result = invoke("run", "--dataset", grey, *flags, *tiny, *short)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def exported(trained: Path, tmp_path: Path) -> Path:
    """The export of the finished run."""
    out = tmp_path / "exported"
    result = invoke("export", trained, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"model of {trained} -> {out}\n"
    return out


def images_of(grey: Path, counts: dict[int, int], first: int = 0) -> Arrays:
    """As many images of each class of the store, from its `first` on, and their labels."""
    store = episodes.open(grey)
    rows = [store.class_starts[cls] + first + i for cls, n in counts.items() for i in range(n)]
    return store.images(np.array(rows)), np.repeat(list(counts), list(counts.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_gives_the_logits_of_the_run(
    kind: str, begun: Callable[..., Path], grey: Path, tmp_path: Path
) -> None:
    run = begun(KINDS[kind])
    directory, source = run_directory.find(run), open_source(str(grey))
    settings, _ = read_config(directory)
    built = learner.build(settings, source)
    weights = load_weights(directory.last_checkpoint, "", settings, built)
    stream = source.stream("quarters.test", settings.shape, seed=0)
    (task,) = each_task(built.tasks(stream.batch(0, 1), stream.seed))
    expected = built.algorithm.run(built.evaluation, *weights, task).outputs

    assert invoke("export", run, "--out", tmp_path / "exported").exit_code == 0
    assert "These weights were not tested." in (tmp_path / "exported" / "card.md").read_text()
    (episode,) = stream.batches(1, 0, 1)
    loaded = load(tmp_path / "exported")
    adapted = loaded.adapt(episode.support_images[0], episode.support_labels[0])

    found = adapted.outputs(episode.query_images[0])
    np.testing.assert_array_equal(found, expected.numpy())
    np.testing.assert_array_equal(adapted.predict(task.query_inputs), expected.argmax(1).numpy())
    again = load(run).adapt(task.support_inputs, task.support_targets)
    np.testing.assert_array_equal(again.outputs(task.query_inputs), found)


def test_a_regression_model_predicts_values(tmp_path: Path) -> None:
    small = ("--hidden", "8", "--query", 5, "--meta-batch-size", 2, "--iterations", 1)
    run = ("run", "--dataset", "sinusoid", *small, "--val-episodes", 1, "--episodes", 1)
    assert invoke(*run, "--threads", 1, "--out", tmp_path / "run").exit_code == 0
    assert invoke("export", tmp_path / "run").exit_code == 0
    loaded = load(tmp_path / "run" / "model")
    shape, source = loaded.facts.config.shape, open_source("sinusoid")
    tasks = source.stream("tasks.test", shape, seed=0).batch(0, 1)
    adapted = loaded.adapt(tasks.support_inputs[0], tasks.support_targets[0])
    error = np.square(adapted.predict(tasks.query_inputs[0]) - tasks.query_targets[0]).mean()

    [figure] = json.loads((tmp_path / "run" / "test_figures.json").read_text())["figures"]
    assert error == pytest.approx(figure, rel=1e-5)
    with pytest.raises(UsageError, match=r"shape \[5, 2\]; expected n x 1$"):
        loaded.adapt(np.ones((5, 2)), np.ones((5, 1)))


def test_the_card_and_the_settings_say_what_it_is_and_name_no_path(
    exported: Path, grey: Path
) -> None:
    card = (exported / "card.md").read_text()
    settings = json.loads((exported / "config.json").read_text())["settings"]
    store = episodes.open(grey)

    assert store.stream("test", 5, 1, 2, seed=0).fingerprint(2) in card and store.digest in card
    assert 'model = load("exported")' in card and "1 of 1 outer iteration of 2 tasks" in card
    assert settings["dataset"] == "grey" and settings["algo"] == "anil"
    assert not any(str(grey.parent) in path.read_text("latin-1") for path in exported.iterdir())
    assert {path.name for path in exported.iterdir()} == {
        "card.md",
        "config.json",
        "model.safetensors",
    }


def test_any_checkpoint_that_is_kept_can_be_exported(trained: Path, tmp_path: Path) -> None:
    run = trained
    for name in ("last", "1"):
        assert invoke("export", run, "--checkpoint", name, "--out", tmp_path / name).exit_code == 0
        assert load(tmp_path / name).facts.iteration == 1
    refused = invoke("export", run, "--checkpoint", "7", "--out", tmp_path / "seven")
    assert refused.exit_code == 2 and "keeps no checkpoint '7': choose best, last" in refused.stderr
    refused = invoke("export", run, "--out", tmp_path / "last")
    assert refused.exit_code == 2 and "is there already: remove it" in refused.stderr


def test_incomplete_and_damaged_exports_are_named(exported: Path, tmp_path: Path) -> None:
    weights, described = exported / "model.safetensors", exported / "config.json"
    whole, settings = weights.read_bytes(), described.read_text()

    weights.write_bytes(whole[:-1])
    with pytest.raises(EpisodesError, match=r"model.safetensors: not a whole checkpoint .* again"):
        load(exported)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(EpisodesError, match=r"SHA-256 differs\): export it again"):
        load(exported)
    weights.unlink()
    with pytest.raises(EpisodesError, match="the checkpoint is missing: export it again"):
        load(exported)
    weights.write_bytes(whole)
    described.write_text(settings.replace('"steps": 2', '"steps": 6'))
    with pytest.raises(EpisodesError, match=r"config.json is damaged \(its SHA-256 differs\)"):
        load(exported)
    described.unlink()
    for folder, said in (
        (exported, "neither a run .no config.toml"),
        ("none", "no such directory"),
    ):
        with pytest.raises(UsageError, match=f"{said}.*`trainers run --out DIR`, or `trainers exp"):
            load(tmp_path / folder)


def test_a_model_that_a_gpu_trained_is_loaded_where_there_is_none(
    exported: Path, grey: Path
) -> None:
    support = images_of(grey, dict.fromkeys(range(5), 1))
    expected = load(exported).adapt(*support).outputs(support[0])
    described = exported / "config.json"
    values = read_sealed(described, "model", "trainers-model/1", "")
    values["settings"] |= {"device": "cuda", "precision": "tf32", "blocks": "plain"}
    del values["settings"]["episode_seed"]  # As if it were a setting of later versions.
    described.write_text(json.dumps(sealed(values)))
    np.testing.assert_array_equal(load(exported).adapt(*support).outputs(support[0]), expected)


def test_weights_of_another_export_are_refused(
    exported: Path, begun: Callable[..., Path], tmp_path: Path
) -> None:
    assert invoke("export", begun(ANIL), "--out", tmp_path / "other").exit_code == 0
    (tmp_path / "other" / "model.safetensors").replace(exported / "model.safetensors")
    with pytest.raises(EpisodesError, match="is of another model than config.json"):
        load(exported)


def gradient_descent(loaded: model.Model, features: torch.Tensor, labels: torch.Tensor) -> tuple:
    """The first rows of the head after the run's test steps, each class weighing the same."""
    way, settings = int(labels.max()) + 1, loaded.facts.config
    head = [t[:way].detach().clone() for n, t in loaded.params.items() if n.startswith("head")]
    for _ in range(settings.eval_steps):
        weight, bias = (tensor.requires_grad_() for tensor in head)
        logits = F.linear(features, weight, bias)
        each = [F.cross_entropy(logits[labels == c], labels[labels == c]) for c in range(way)]
        grads = torch.autograd.grad(torch.stack(each).mean(), (weight, bias))
        rate = settings.own["inner_lr"]
        head = [(t - rate * g).detach() for t, g in zip((weight, bias), grads, strict=True)]
    return head


def test_fewer_classes_of_unequal_sizes_use_the_first_rows_and_weigh_alike(
    exported: Path, grey: Path
) -> None:
    loaded = load(exported)
    images, labels = images_of(grey, {3: 1, 1: 4, 8: 2})
    queries, _ = images_of(grey, {1: 3, 3: 3, 8: 3}, first=5)
    names = np.array(["owl", "cat", "fox"])[np.searchsorted([1, 3, 8], labels)]

    adapted = loaded.adapt(images, names)

    backbone, numbers = (
        loaded.learner.evaluation.backbone,
        np.searchsorted(["cat", "fox", "owl"], names),
    )
    features = backbone.features(loaded.params, loaded.inputs(images)).detach()
    head = gradient_descent(loaded, features, torch.as_tensor(numbers))
    expected = F.linear(backbone.features(loaded.params, loaded.inputs(queries)), *head).detach()
    assert adapted.classes.tolist() == ["cat", "fox", "owl"]
    np.testing.assert_allclose(adapted.outputs(queries), expected, rtol=1e-4, atol=1e-5)
    softmax = expected.softmax(1)
    np.testing.assert_allclose(adapted.probabilities(queries), softmax, rtol=1e-4, atol=1e-6)
    assert adapted.predict(queries).tolist() == adapted.classes[expected.argmax(1)].tolist()


def test_balanced_cross_entropy_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]]))
    expected = (np.log(2) + (np.log(4) + np.log(4 / 3)) / 2) / 2
    assert balanced_cross_entropy(logits[[1, 2, 0]], torch.tensor([0, 0, 1])).item() == (
        pytest.approx(expected)
    )


def test_numbers_of_classes_that_a_head_can_take(
    exported: Path, begun: Callable[..., Path], grey: Path
) -> None:
    images, labels = images_of(grey, dict.fromkeys(range(7), 2))
    with pytest.raises(UsageError, match=r"found 7 classes: .* --way 5, .* or --head-init zero or"):
        load(exported).adapt(images, labels)
    assert load(begun(KINDS["protonet"])).adapt(images, labels).outputs(images).shape == (
        14,
        7,
    )
    assert load(begun({**MAML, "head_init": "prototypes"})).adapt(images, labels).outputs(
        images
    ).shape == (14, 7)
    with pytest.raises(UsageError, match="found 1 class"):
        load(exported).adapt(images[:2], labels[:2])
    with pytest.raises(UsageError, match="14 inputs have 13 targets"):
        load(exported).adapt(images, labels[1:])


def test_one_image_alone_is_normalised_by_the_support_set(
    exported: Path, grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(exported)
    images, labels = images_of(grey, dict.fromkeys(range(5), 2))
    queries, _ = images_of(grey, dict.fromkeys(range(5), 3), first=2)
    together, apart = loaded.adapt(images, labels), loaded.adapt(images, labels, bn="support")

    independent = apart.outputs(queries)
    for alone in (together.outputs(queries[:1]), apart.outputs(queries[:1])):
        np.testing.assert_allclose(alone[0], independent[0], rtol=1e-4)
    assert not np.allclose(together.outputs(queries), independent, rtol=1e-2)
    monkeypatch.setattr(model, "MOST_AT_ONCE", 4)
    np.testing.assert_allclose(apart.outputs(queries), independent, rtol=1e-4)
    assert together.is_transductive and not apart.is_transductive


def test_normalisation_that_the_model_cannot_do_is_refused(
    exported: Path, begun: Callable[..., Path], grey: Path
) -> None:
    support = images_of(grey, dict.fromkeys(range(5), 1))
    with pytest.raises(UsageError, match="trained with --bn per-step: leave 'support' out"):
        load(begun(KINDS["maml-per-step"])).adapt(*support, bn="support")
    with pytest.raises(UsageError, match="bn is 'running'; expected batch or support"):
        load(exported).adapt(*support, bn="running")


def test_images_of_any_size_become_those_that_the_store_would_hold(exported: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    grey = Image.fromarray(pixels).convert("L").resize((16, 16), Image.Resampling.BILINEAR)
    found = load(exported).inputs([pixels, np.asarray(grey)])
    expected = torch.as_tensor(np.asarray(grey).copy())[None].float() / 255
    assert torch.equal(found, torch.stack([expected, expected]))


def test_a_run_that_is_not_finished_is_told(begun: Callable[..., Path], trained: Path) -> None:
    run = begun({**ANIL, "iterations": 60_000})
    note = f"{run} is not finished (iteration 0 of 60,000): its last checkpoint is used"
    with pytest.warns(UserWarning, match=re.escape(note)):
        assert load(run).notes == (note,)
    assert f"note: {note}\n" == invoke("export", run).stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(trained).notes == load(run / "model").notes == ()


def test_the_checkpoint_of_an_unfinished_run_is_named(
    begun: Callable[..., Path], grey: Path
) -> None:
    directory = run_directory.find(begun({**ANIL, "iterations": 60_000}))
    settings, _ = read_config(directory)
    state = OuterState(settings, learner.build(settings, open_source(str(grey))))
    state.position.iteration, state.position.best = 1097, [(0.5, 1040)]
    for path in (directory.last_checkpoint, directory.best_checkpoint(1040)):
        state.save(path)
    (note,) = model_files.read(directory.path).notes
    assert "(iteration 1,097 of 60,000): its checkpoint of iteration 1,040 is used" in note
    (note,) = model_files.model_of_run(directory.path, "last").notes
    assert note.endswith("its last checkpoint is used")
