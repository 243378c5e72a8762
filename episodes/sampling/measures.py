"""What tells tasks apart: measures of the embeddings of a task's support set.

Embeddings are rows, [..., S, d], and labels int64 [..., S]; every result is float64 [...]. Any
leading axes are a batch of tasks. Source: Wang et al. 2024, "Towards Task Sampler Learning for
Meta-Learning", arXiv 2307.08924, and the four criteria of "Rethinking Meta-Learning from a Learning
Lens", arXiv 2409.08474.
"""

import numpy as np


def unit_norm(features: np.ndarray) -> np.ndarray:
    """float64 [..., d]: rows of length 1; rows of zeros stay as they are."""
    features = np.asarray(features, np.float64)
    lengths = np.sqrt(np.einsum("...d,...d->...", features, features))[..., np.newaxis]
    return features / np.where(lengths > 0, lengths, 1)


def enrichment(features: np.ndarray, sigma: float = 0.1) -> np.ndarray:
    """The volume of the feature space that a task fills: logdet(I + Z^T Z / (S sigma^2)) / 2."""
    features = np.asarray(features, np.float64)
    return _log_volume(_smaller_gram(features), features.shape[-2] * sigma**2) / 2


def diversity(features: np.ndarray, sigma: float = 0.1) -> np.ndarray:
    """How much a task's samples differ: S times the `enrichment`."""
    return features.shape[-2] * enrichment(features, sigma)


def entropy(features: np.ndarray, labels: np.ndarray, epsilon: float = 0.1) -> np.ndarray:
    """How much samples of one class differ: each class's volume, weighted by its samples.

    The sum over classes of S_c / (2 S) logdet(I + Z_c^T Z_c / (S_c epsilon^2)).
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    samples, dimensions = features.shape[-2:]
    gram = _smaller_gram(features) if samples <= dimensions else None
    total = np.zeros(features.shape[:-2])
    for label in range(labels.max(initial=-1) + 1):
        members = labels == label
        count = members.sum(axis=-1)
        if gram is not None:
            of_class = gram * (members[..., :, np.newaxis] & members[..., np.newaxis, :])
        else:
            of_class = _smaller_gram(features * members[..., np.newaxis])
        volume = _log_volume(
            of_class, np.maximum(count, 1)[..., np.newaxis, np.newaxis] * epsilon**2
        )
        total += count / (2 * samples) * volume
    return total


def compactness(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean squared distance of samples from their class's mean; lower is more compact."""
    features = np.asarray(features, np.float64)
    means, _, members = _class_means(features, labels)
    apart = features - members @ means
    return np.einsum("...sd,...sd->...", apart, apart) / features.shape[-2]


def separability(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean squared distance between two classes' means; 0 where there is one class."""
    means, counts, _ = _class_means(np.asarray(features, np.float64), labels)
    present = (counts > 0)[..., np.newaxis]
    classes = present.sum(axis=(-2, -1))
    centre = means.sum(axis=-2, keepdims=True) / np.maximum(classes, 1)[..., np.newaxis, np.newaxis]
    apart = (means - centre) * present
    # Squared distances of all ordered pairs add up to 2 k times those from the centre.
    return 2 * np.einsum("...kd,...kd->...", apart, apart) / np.maximum(classes - 1, 1)


def _smaller_gram(features: np.ndarray) -> np.ndarray:
    """Z Z^T or Z^T Z, which have the same volume: logdet(I + AB) = logdet(I + BA) (Sylvester)."""
    transposed = features.swapaxes(-1, -2)
    samples, dimensions = features.shape[-2:]
    return features @ transposed if samples <= dimensions else transposed @ features


def _log_volume(gram: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    return np.linalg.slogdet(np.eye(gram.shape[-1]) + gram / scale)[1]


def _class_means(
    features: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means [..., k, d] (0 where a class has no samples), counts [..., k], members [..., S, k]."""
    labels = np.asarray(labels)
    classes = np.arange(labels.max(initial=-1) + 1)
    members = (labels[..., np.newaxis] == classes).astype(np.float64)
    counts = members.sum(axis=-2)
    sums = members.swapaxes(-1, -2) @ features
    return sums / np.maximum(counts, 1)[..., np.newaxis], counts, members
