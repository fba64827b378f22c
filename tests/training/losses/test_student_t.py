import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from training.losses.student_t import clustering_divergence, soft_assignment, target_distribution


def drawn(images: int = 7, clusters: int = 3, width: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, width, generator=generator), torch.randn(clusters, width, generator=generator)


def test_soft_assignment_is_the_published_formula() -> None:
    embeddings, centroids = drawn()
    found = soft_assignment(embeddings, centroids)
    for i, z in enumerate(embeddings):
        kernel = [1 / (1 + float(((z - mu) ** 2).sum())) for mu in centroids]
        assert found[i].tolist() == pytest.approx([value / sum(kernel) for value in kernel], rel=1e-5)


def test_target_distribution_is_the_published_formula() -> None:
    q = soft_assignment(*drawn()).double().numpy()
    frequency = [sum(q[i, j] for i in range(len(q))) for j in range(q.shape[1])]
    wanted = np.empty_like(q)
    for i, row in enumerate(q):
        total = sum(row[k] ** 2 / frequency[k] for k in range(len(row)))
        wanted[i] = [row[j] ** 2 / frequency[j] / total for j in range(len(row))]
    np.testing.assert_allclose(target_distribution(torch.from_numpy(q)).numpy(), wanted, rtol=1e-12)


def test_the_target_is_sharper_than_the_assignment() -> None:
    q = soft_assignment(*drawn(images=200))
    p = target_distribution(q)
    assert -torch.xlogy(p, p).sum() < -torch.xlogy(q, q).sum()


def test_divergence_is_torchs_own() -> None:
    embeddings, centroids = drawn()
    q = soft_assignment(embeddings, centroids).requires_grad_()
    p = target_distribution(q.detach())
    found, wanted = clustering_divergence(q, p), kl_div(q.log(), p, reduction="batchmean")
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(loss, q)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*gradients)
    assert float(clustering_divergence(p, p)) == pytest.approx(0, abs=1e-6)


def test_divergence_from_hard_targets_is_the_cross_entropy() -> None:
    q = soft_assignment(*drawn())
    p = torch.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    wanted = -q[range(7), [0, 1, 2, 0, 1, 2, 0]].log().mean()
    torch.testing.assert_close(clustering_divergence(q, p), wanted)
