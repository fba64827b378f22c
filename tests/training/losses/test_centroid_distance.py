import pytest
import torch

from training.losses.centroid_distance import centroid_distance


def test_it_is_half_the_mean_squared_distance() -> None:
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]])
    centroids = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    found = centroid_distance(embeddings, centroids, torch.tensor([0, 0, 1]))
    assert float(found) == pytest.approx((0 + 25 + 4) / 3 / 2)


def test_its_gradient_pulls_embeddings_to_their_centroid() -> None:
    embeddings = torch.tensor([[3.0, 4.0]], requires_grad=True)
    centroid_distance(embeddings, torch.tensor([[9.0, 9.0], [1.0, 3.0]]), torch.tensor([1])).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.tolist() == [[2.0, 1.0]]
