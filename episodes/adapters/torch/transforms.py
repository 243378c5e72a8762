"""Images as numbers, and transforms of them that draw the same for the same episode."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

from episodes.adapters import IMAGES, framework
from episodes.adapters.torch.tensors import Tensors
from episodes.errors import UsageError, unknown_name
from episodes.manifest import Normalisation
from episodes.stream import Stream

if TYPE_CHECKING:
    import torch
else:
    torch = framework("torch", "torch")

Transform = Callable[[Tensors], Tensors]
Unit = Literal["image", "episode"]
TRANSFORM_VERSION = "transform/1"


def to_float(
    tensors: Mapping[str, "torch.Tensor"],
    normalise: Normalisation | None = None,
    dtype: "torch.dtype | None" = None,
) -> Tensors:
    """An episode or a batch with its uint8 images as `dtype` (float32) in [0, 1], on their device.

    With `normalise`, such as `store.normalisation`, the mean is taken from each channel [..., C, H,
    W] and the rest divided by the standard deviation. Raises UsageError for images that are numbers
    already, and for constants of other channels.
    """
    return dict(tensors) | {
        name: _scaled(tensors[name], normalise, dtype or torch.float32) for name in IMAGES
    }


class EpisodeTransform:
    """A transform of images as a transform of episodes and batches, as `to_tensors` gives them.

    What it draws from torch's generators, as all of `torchvision.transforms.v2` do, depends on the
    stream's split, settings and seed and on the episode's index alone: not on batches, workers,
    ranks or where one begins. `per` "image" calls it for every image [C, H, W]; "episode" calls it
    once for all images [n, C, H, W] of an episode, support before query, and v2 transforms then do
    the same to all of them. The global generators are left as they were. Raises UsageError where it
    makes images of several shapes.

    Parameters, such as a crop's place, are drawn on the host and the same for every device; noise
    that is drawn on a GPU is the GPU's own. Generators may change between releases of torch.
    """

    def __init__(
        self,
        stream: Stream,
        transform: Callable[["torch.Tensor"], "torch.Tensor"],
        per: Unit = "image",
    ) -> None:
        if per not in get_args(Unit):
            raise unknown_name("unit of transforms", per, get_args(Unit))
        self.transform, self.per = transform, per
        self._identity = "\n".join(
            (TRANSFORM_VERSION, str(stream.seed), stream.split, stream.spec.canonical())
        )

    def __call__(self, tensors: Tensors) -> Tensors:
        """The same fields with the images transformed."""
        support, query = (tensors[name] for name in IMAGES)
        index = tensors["index"]
        if not index.dim():
            support, query = support[None], query[None]
        sizes = (support.shape[1], query.shape[1])
        episodes = zip(index.reshape(-1).tolist(), torch.cat((support, query), dim=1), strict=True)
        generators = _generators(support.device)
        try:
            with _kept(generators):
                images = torch.stack([self._one(generators, *episode) for episode in episodes])
        except RuntimeError as error:
            if "equal size" not in str(error):
                raise
            raise UsageError(
                "the transform makes images of several shapes: end it with a Resize or a crop"
            ) from None
        if not index.dim():
            (images,) = images
        return tensors | dict(zip(IMAGES, images.split(sizes, dim=-4), strict=True))

    def _one(
        self, generators: list["torch.Generator"], number: int, images: "torch.Tensor"
    ) -> "torch.Tensor":
        """The images [n, C, H, W] of episode `number`, transformed."""
        hashed = hashlib.sha256(f"{self._identity}\n{number}".encode()).digest()
        for generator in generators:
            generator.manual_seed(int.from_bytes(hashed[:8], "little"))
        if self.per == "episode":
            return self.transform(images)
        return torch.stack([self.transform(image) for image in images])


def _scaled(
    images: "torch.Tensor", normalise: Normalisation | None, dtype: "torch.dtype"
) -> "torch.Tensor":
    if images.dtype != torch.uint8:
        raise UsageError(f"the images are {images.dtype} already; expected torch.uint8")
    scaled = images.to(dtype).div_(255)
    if normalise is None:
        return scaled
    if len(normalise.mean) != images.shape[-3]:
        raise UsageError(
            f"the images have {images.shape[-3]} channels, the constants {len(normalise.mean)}"
        )
    mean, std = (
        torch.tensor(values, dtype=dtype, device=images.device).view(-1, 1, 1)
        for values in (normalise.mean, normalise.std)
    )
    return scaled.sub_(mean).div_(std)


def _generators(device: "torch.device") -> list["torch.Generator"]:
    """Those that a transform on `device` draws from: the host's, and a GPU's own."""
    if device.type != "cuda":
        return [torch.default_generator]
    torch.cuda.init()
    return [torch.default_generator, torch.cuda.default_generators[device.index]]


@contextmanager
def _kept(generators: list["torch.Generator"]) -> Iterator[None]:
    """Afterwards `generators` are in the state that they are in."""
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
