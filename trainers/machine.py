"""The machine that a run computes on, set up so that the same run gives the same numbers."""

from episodes.errors import UsageError


def use(device: str, threads: int) -> None:
    """Set this process's thread count and deterministic kernels; raises UsageError where the device
    is not there."""
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[device]:
        working = ", ".join(name for name, works in available.items() if works)
        raise UsageError(f"--device {device} is not available here (available: {working})")
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
