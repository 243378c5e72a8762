"""What convolutions are computed in, and by: settings that a run keeps."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainers import learner, machine
from trainers.backbones import fused
from trainers.backbones.precision import InBFloat16
from trainers.config import RunConfig, complete
from trainers.run import Run
from trainers.sources import open_source

needs_compiler = pytest.mark.skipif(not fused.is_available(), reason="no C++ compiler with OpenMP")


def run_over(grey: Path, **given) -> Run:
    config = complete({"query": 2, **given}, {"split": "quarters", "threads": 1})
    return Run.over(open_source(str(grey)), config)


@needs_compiler
def test_auto_is_settled_when_a_run_begins(train):
    assert train("--out", "run", "--iterations", 0).exit_code == 0

    settings = tomllib.loads(Path("run/config.toml").read_text())

    assert settings["blocks"] == "fused" and settings["precision"] == "fp32"


@needs_compiler
def test_blocks_are_those_asked_for(grey):
    assert run_over(grey).learner.training.backbone.fused
    assert run_over(grey, blocks="fused").learner.evaluation.backbone.fused
    assert not run_over(grey, blocks="plain").learner.training.backbone.fused
    assert run_over(grey, backbone="mlp").config.blocks == "plain"


def test_without_a_compiler_blocks_are_plain(grey, train, monkeypatch):
    monkeypatch.setattr(fused.native, "library", lambda name: None)

    assert run_over(grey).config.blocks == "plain"
    refused = train("--blocks", "fused")

    assert refused.exit_code == 2 and "install g++" in refused.output


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--precision", "tf32"), "--precision tf32 is that of NVIDIA's GPUs"),
        (
            ("--blocks", "fused", "--compile", "--task-batching", "batched"),
            "--compile fuses by itself",
        ),
        (
            ("--precision", "bf16", "--compile", "--task-batching", "batched"),
            "--compile computes in float32",
        ),
        (("--precision", "bf61"), "bf16"),
    ],
)
def test_settings_without_a_use_are_refused(train, flags, told):
    refused = train(*flags)

    assert refused.exit_code == 2 and told in refused.output


def test_bf16_runs_give_the_same_numbers_again(train, tmp_path):
    flags = ("--precision", "bf16", "--algo", "maml", "--validate-every", 2, "--steps", 2)
    assert train(*flags, "--iterations", 4, "--out", "whole").exit_code == 0
    again = train(*flags, "--iterations", 4, "--out", "again")

    assert again.exit_code == 0 and "accuracy" in again.output
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "again")]
    assert lines[0] == lines[1]


def test_bf16_is_for_features_alone(grey):
    backbone = run_over(grey, precision="bf16").learner.training.backbone
    assert isinstance(backbone, InBFloat16)
    params = backbone.init(torch.Generator().manual_seed(0))
    images = torch.rand(3, 1, 16, 16)
    moments = []

    features = backbone.features(params, images, collect=moments)
    exact = replace(backbone.backbone, fused=False).features(params, images)

    assert features.dtype == backbone.logits(params, features).dtype == torch.float32
    assert all(m.dtype == torch.float32 for pair in moments for m in pair)
    assert not torch.equal(features, exact)
    torch.testing.assert_close(features, exact, rtol=0.1, atol=0.1)


def test_tf32_is_a_switch_of_the_gpu(monkeypatch):
    for precision, expected in (("tf32", True), ("fp32", False)):
        machine.use("cpu", 1, precision)

        assert torch.backends.cudnn.allow_tf32 is expected
        assert torch.backends.cuda.matmul.allow_tf32 is expected


def test_an_evaluation_may_fall_back_to_plain_blocks(grey, monkeypatch):
    """The numbers are the same up to rounding, and no training follows."""
    config: RunConfig = replace(run_over(grey).config, blocks="fused")
    monkeypatch.setattr(fused.native, "library", lambda name: None)

    assert not learner.build(config, open_source(str(grey))).evaluation.backbone.fused
