"""Checkpoints: what is read is what was written, to the bit, or an error that names the file."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from episodes.errors import EpisodesError
from trainers import checkpoint

TENSORS = {
    "params/conv.weight": torch.tensor([[0.1, float("nan")], [-0.0, 3e-45]]),
    "adam/step": torch.tensor(7.0),
    "meta/rate": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
}
STATE = {"position": {"iteration": 3, "best": [[0.25, 2]]}}
ADVICE = "begin again"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "last.safetensors"
    checkpoint.save(path, TENSORS, STATE)
    return path.read_bytes()


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def test_tensors_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, TENSORS, STATE)
    tensors, state = checkpoint.load(path, ADVICE)
    assert state == STATE
    assert tensors.keys() == TENSORS.keys() == load_file(path).keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype and tensor.shape == TENSORS[name].shape
        assert bits(tensor) == bits(TENSORS[name]) == bits(load_file(path)[name])
    assert list(tmp_path.iterdir()) == [path]


@given(st.data())
def test_a_flipped_bit_anywhere_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, written: bytes, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(written) - 1))
    damaged = bytearray(written)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(damaged)
    try:
        tensors, state = checkpoint.load(path, ADVICE)
    except EpisodesError as error:
        assert str(path) in str(error) and str(error).endswith(ADVICE)
    else:
        # White space of the header and names of unused metadata keys carry nothing.
        assert state == STATE
        assert {name: bits(tensor) for name, tensor in tensors.items()} == {
            name: bits(tensor) for name, tensor in TENSORS.items()
        }


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_checkpoint_is_refused(
    tmp_path_factory: pytest.TempPathFactory, written: bytes, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    path.write_bytes(written[: int(share * len(written))])
    with pytest.raises(EpisodesError, match=r"cut\.safetensors: .*begin again"):
        checkpoint.load(path, ADVICE)


def test_a_foreign_or_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodesError, match="the checkpoint is missing: begin again"):
        checkpoint.load(tmp_path / "none.safetensors", ADVICE)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(EpisodesError, match="expected trainers-checkpoint/1: begin again"):
        checkpoint.load(foreign, ADVICE)
