import numpy as np
import pytest

from clustnet.corrections.state import Found, Review, Subtype
from clustnet.errors import UserError
from review.splitting import divided, split


def blobs(sizes: list[int]) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(len(sizes), 6) * 8, sizes, axis=0)
    return (centres + generator.normal(0, 0.3, centres.shape)).astype(np.float32)


def review(images: int) -> Review:
    files = [f"ok/{place}.png" for place in range(images)]
    return Review.of_run(Found(files, ["ok"], [Subtype("ok/1", "ok")], np.zeros(images, np.int64)))


# With few images, and with so many that UMAP is used.
@pytest.mark.parametrize("sizes", [[8, 6, 4], [30, 20, 12]])
def test_what_lies_apart_is_divided(sizes: list[int]) -> None:
    rows = blobs(sizes)
    found = divided(rows, 3)
    np.testing.assert_array_equal(found, np.repeat([0, 1, 2], sizes))
    np.testing.assert_array_equal(divided(rows, 3), found)


def test_the_largest_part_keeps_the_id() -> None:
    action = split(review(18), blobs([4, 8, 6]), "ok/1", 3)
    assert {name: len(files) for name, files in action.parts.items()} == {"ok/2": 6, "ok/3": 4}
    assert action.parts["ok/3"] == tuple(f"ok/{place}.png" for place in range(4))
    after = review(18)
    after.apply(action)
    assert len(after.members("ok/1")) == 8


@pytest.mark.parametrize(
    ("images", "parts", "words"),
    [(18, 1, "2 to 20 parts"), (18, 21, "2 to 20 parts"), (3, 2, "too few for 2 parts"), (18, 2, "too similar")],
)
def test_what_cannot_be_divided_is_a_sentence(images: int, parts: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        split(review(images), np.zeros((images, 3), np.float32), "ok/1", parts)
