import numpy as np
import torch
from sklearn.decomposition import PCA

from training.models.config import EmbeddingModel
from training.models.embedding_mixture import (
    EmbeddingMixture,
    Projection,
    components_of,
    fit_projection,
    held_out_rest,
    unit,
)


def test_the_projection_is_scikit_learns() -> None:
    rows = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13)
    projection = Projection(12, 5)
    fit_projection(projection, rows)
    directions = unit(rows.double()).numpy()
    pca = PCA(5).fit(directions)
    expected = pca.transform(directions)
    found = projection(rows).detach().double().numpy()
    scale = np.sqrt((expected**2).mean())
    np.testing.assert_allclose(np.abs(found[:, :5]), np.abs(expected) / scale, rtol=2e-2, atol=1e-3)
    left = np.linalg.norm(directions - pca.inverse_transform(expected), axis=1)
    np.testing.assert_allclose(found[:, 5], left, rtol=1e-3, atol=1e-4)


def test_the_rest_routes_nothing() -> None:
    """Gate and experts answer alike whatever the components leave out."""
    model = EmbeddingMixture(EmbeddingModel(encoder="lite0", experts=3), 12, 5, 2)
    rows = torch.randn(7, 6)
    other = torch.cat([components_of(rows), torch.rand(7, 1)], dim=1)
    for one, two in zip(model.route(rows), model.route(other), strict=True):
        torch.testing.assert_close(one, two)
    assert model.rest_column == 5


def test_new_embeddings_leave_as_much_over() -> None:
    """Of few embeddings their own components leave too little over."""
    generator = torch.Generator().manual_seed(0)
    rows, new = torch.randn(60, 40, generator=generator), torch.randn(400, 40, generator=generator)
    projection = Projection(40, 20)
    fit_projection(projection, rows)
    own, held_out, unseen = projection(rows)[:, -1], held_out_rest(rows, 20), projection(new)[:, -1]
    assert own.mean() < 0.9 * unseen.mean()
    assert abs(held_out.mean() / unseen.mean() - 1) < 0.1
