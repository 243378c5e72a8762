"""Checkpoints: one safetensors file of tensors and a JSON state, under one SHA-256."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.errors import EpisodesError
from trainers.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "trainers-checkpoint/1"


def save(path: Path, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None:
    """Write a checkpoint; `path` is replaced in one step, or left as it was where the disk
    refuses."""
    from safetensors.torch import save as serialize

    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    state_json = json.dumps(state, sort_keys=True)
    metadata = {"format": FORMAT, "state": state_json, "sha256": _sha256(on_cpu, state_json)}
    write_whole(path, serialize(on_cpu, metadata))


def load(path: Path, advice: str) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """The tensors, on the CPU, and the state of a checkpoint.

    Raises EpisodesError, ending in `advice` on what to do, where the file is missing or differs by
    as much as one bit from what was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise EpisodesError(f"{path}: the checkpoint is missing: {advice}") from None
    except (SafetensorError, OSError) as error:
        raise EpisodesError(f"{path}: not a whole checkpoint ({error}): {advice}") from None
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "a safetensors file without a format")
        raise EpisodesError(f"{path}: found {found}, expected {FORMAT}: {advice}")
    state_json = metadata.get("state", "")
    if metadata.get("sha256") != _sha256(tensors, state_json):
        raise EpisodesError(f"{path}: the checkpoint is corrupt (SHA-256 differs): {advice}")
    return tensors, json.loads(state_json)


def _sha256(tensors: "dict[str, Tensor]", state_json: str) -> str:
    digest = hashlib.sha256(state_json.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
