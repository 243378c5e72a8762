"""card.md: what an exported model is, for whoever finds the folder."""

from collections.abc import Iterator

from episodes.version import installed_version
from trainers import catalog
from trainers.metrics import METRICS
from trainers.model import ModelFacts
from trainers.wording import plural

LOADING = """```python
from trainers import load

model = load("{folder}")
predicted = model.adapt(support_{inputs}, support_{targets}).predict(query_{inputs})
```"""


def card(facts: ModelFacts, folder: str) -> str:
    """The text of the card of a model that is exported to a folder of this name."""
    return "\n".join(_lines(facts, folder)) + "\n"


def _lines(facts: ModelFacts, folder: str) -> Iterator[str]:
    config, recorded = facts.config, facts.trained_on
    yield f"# {catalog.title(config.algo, config.lr)}, trained on {recorded['name']}"
    yield ""
    yield from _what_it_is(facts)
    yield from ("", "## Load it", "", f"`pip install 'fewshot-episodes[train]'`{_version()}.", "")
    inputs, targets = ("points", "values") if facts.is_regression else ("images", "labels")
    yield LOADING.format(folder=folder, inputs=inputs, targets=targets)
    if not facts.is_regression:
        yield ""
        yield "Or, with a folder of pictures for each class:"
        yield ""
        yield f"`trainers adapt {folder} --support FOLDER --query FOLDER`"
    yield from ("", "## Trained on", "")
    yield f"- Dataset: {recorded['name']}, split {config.split}.train"
    yield f"- Store digest: `{recorded['digest']}`"
    if marks := recorded.get("marks"):
        yield f"- **Not the whole dataset: {marks}**"
    yield f"- Licence of the dataset: {facts.licence or 'not known'}"
    yield f"- Training tasks: {config.training_shape}, {config.train_query} queries"
    yield (
        f"- {facts.iteration} of {config.iterations} outer "
        f"{plural('iteration', config.iterations)} of "
        f"{config.meta_batch_size} {plural('task', config.meta_batch_size)}, seed {config.seed}"
    )
    yield f"- Versions: {', '.join(f'{name} {v}' for name, v in facts.versions.items())}"
    yield from ("", "## Results", "", *_results(facts))
    yield from ("", "## Use and limits", "", *_limits(facts), "")
    yield (
        "`model.safetensors` holds the initial weights (`params/`) and the meta-parameters "
        "(`meta/`), `config.json` every setting of the run."
    )


def _what_it_is(facts: ModelFacts) -> Iterator[str]:
    config = facts.config
    algorithm = catalog.find("algo", config.algo)
    shape = " x ".join(map(str, facts.input_shape))
    kind = "vectors" if len(facts.input_shape) == 1 else "images (channels, height, width)"
    yield f"- Algorithm: {config.algo}: {algorithm.summary} ({algorithm.source})"
    yield f"- Rate scheme: {config.lr}: {catalog.find('lr', config.lr).summary}"
    yield f"- Backbone: {config.backbone}, for {kind} of {shape}"
    if not facts.is_regression:
        yield f"- Pixels: in 0..1, not normalised further; resized by {facts.resize}"
    yield f"- Inner steps: {config.steps} in training, {config.eval_steps} in tests"
    yield f"- Batch normalisation: {config.bn}"


def _results(facts: ModelFacts) -> Iterator[str]:
    if facts.results is None:
        yield "These weights were not tested."
        return
    test = facts.results["test"]
    metric = METRICS[test["metric"]]
    yield (
        f"- Test {metric.name}: {metric.text(test[metric.name], test['interval'])} "
        f"(95 % interval) over {test['episodes']} episodes of {test['dataset']} {test['split']}, "
        f"{facts.config.shape}, {test['query']} queries, {test['steps']} steps"
    )
    yield f"- Episode fingerprint: `{test['fingerprint']}`"
    yield f"- Checkpoint: the {'best by validation' if facts.results['validation'] else 'last'}"
    for warning in facts.results["warnings"]:
        yield f"- **Warning: {warning}**"


def _limits(facts: ModelFacts) -> Iterator[str]:
    if facts.is_regression:
        yield f"- Made to adapt to functions like those of {facts.trained_on['name']}."
        return
    yield (
        "- Made to tell a few new classes apart from a few labelled images each. The figures above "
        f"are for classes of {facts.trained_on['name']} that it was not trained on; on pictures "
        "of another kind it can be far worse: measure it on labelled ones of your own."
    )
    if facts.config.bn in ("batch", "per-step"):
        yield (
            "- Images that are predicted together are normalised together, so a prediction depends "
            'on the others; `bn="support"` makes it independent of them.'
            if facts.config.bn == "batch"
            else "- Images that are predicted together are normalised together."
        )
    yield "- It always names one of the classes of the support set, for any picture."
    yield "- The training images' licence may bind what is derived from them."


def _version() -> str:
    return f" (written by {installed_version()})"
