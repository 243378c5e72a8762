"""Plain images: each once an epoch, in an order that does not depend on ranks and threads."""

import hashlib
import pickle

import numpy as np
import pytest

from episodes.errors import UsageError
from episodes.image_stream import ImageStream
from episodes.store import Store

# The order of the first two epochs of 160 images. It must never change.
ORDER = "258e5fba98352e5b1206179ec962ba395886de3a0054a63d8623ab8568643c0d"


@pytest.fixture
def images(tiny_store: Store) -> ImageStream:
    return ImageStream(tiny_store, "train", seed=3)


def test_an_epoch_has_every_image_of_the_split_once(images: ImageStream) -> None:
    store, epochs = images.store, [images.batch(160 * epoch, 160) for epoch in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch.rows), np.arange(160))
        np.testing.assert_array_equal(epoch.images, store.images(epoch.rows))
        np.testing.assert_array_equal(epoch.labels, epoch.rows // 20)
    assert not np.array_equal(epochs[0].rows, epochs[1].rows)
    assert not np.array_equal(epochs[0].rows, np.arange(160))


def test_the_order_never_changes(images: ImageStream) -> None:
    rows = images.batch(0, 320).rows
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest() == ORDER
    identity = hashlib.sha256(b"plan/1\n3\nhalves.train\nimages").digest()
    philox = np.random.Philox(key=int.from_bytes(identity[:16], "little"), counter=40)
    words = philox.random_raw(160).tolist()
    assert rows[160:].tolist() == sorted(range(160), key=words.__getitem__)


def test_labels_count_the_classes_of_the_split(tiny_store: Store) -> None:
    batch = ImageStream(tiny_store, "quarters.val", shuffle=False).batch(0, 80)
    np.testing.assert_array_equal(batch.rows, np.arange(160, 240))
    np.testing.assert_array_equal(batch.labels, np.repeat(np.arange(4), 20))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("threads", [0, 1, 4])
def test_shares_are_disjoint_and_make_the_whole(
    images: ImageStream, world: int, threads: int
) -> None:
    whole = images.batch(0, 320)
    found: dict[int, int] = {}
    for rank in range(world):
        for batch in images.shard(rank, world).loader(7, stop=320, threads=threads):
            for index, row in zip(batch.index, batch.rows, strict=True):
                assert found.setdefault(int(index), int(row)) == row
    assert [found[index] for index in range(320)] == list(whole.rows)


def test_a_loader_goes_on_where_its_state_says(images: ImageStream) -> None:
    loader = images.loader(50, stop=320)
    items = iter(loader)
    next(items), next(items)
    state = loader.state_dict()
    assert state == {"next": 100}
    again = images.loader(60, stop=320)
    again.load_state_dict(state)
    rows = np.concatenate([batch.rows for batch in again])
    np.testing.assert_array_equal(rows, images.batch(100, 220).rows)
    assert len(loader) == 7


def test_it_survives_pickling_and_refuses_what_there_is_not(images: ImageStream) -> None:
    again = pickle.loads(pickle.dumps(images.shard(1, 2)))
    np.testing.assert_array_equal(again.batch(0, 5).index, [1, 3, 5, 7, 9])
    with pytest.raises(UsageError, match="has no classes in halves.val"):
        ImageStream(images.store, "val")
    with pytest.raises(UsageError, match="rank 2 of 2"):
        images.shard(2, 2)
    with pytest.raises(UsageError, match="indices are 0 or more"):
        images.batch(-1, 4)
