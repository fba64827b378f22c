import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.engine.seeding import generator_of
from training.probe import classifiers
from training.probe.classifiers import Candidate, guess, linear_probe, neighbour_accuracy, scaled, train_linear


def blobs(images: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three classes that overlap, in six numbers of different sizes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, images)
    rows = 2 * np.eye(6)[labels] + generator.normal(size=(images, 6))
    return (rows * [1, 10, 100, 1, 1, 1] + 5).astype(np.float32), labels


def test_probe_is_as_good_as_scikit_learns() -> None:
    (train, labels), (test, truth) = blobs(600, 0), blobs(2000, 1)
    seen, unseen = scaled(train, test)
    expected = LogisticRegression(C=1e3).fit(seen, labels).score(unseen, truth)
    found = linear_probe(train, labels, test, truth, 0)
    assert found.accuracy == pytest.approx(expected, abs=0.02)
    assert expected > 0.7


def test_candidates_are_trained_as_if_alone() -> None:
    rows, labels = torch.randn(100, 5, generator=generator_of(0)), torch.arange(100) % 3
    candidates = [Candidate(0.3, 0.0), Candidate(1.0, 1e-2)]
    together = train_linear(rows, labels, 3, candidates, generator_of(1))
    for place, candidate in enumerate(candidates):
        alone = train_linear(rows, labels, 3, [candidate], generator_of(1))
        torch.testing.assert_close(together[:, place], alone[:, 0])


def test_steps_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "EPOCHS", 3)
    rows, labels = torch.randn(64, 5, generator=generator_of(0)), torch.arange(64) % 3
    found = train_linear(rows, labels, 3, [Candidate(0.5, 0.01)], generator_of(1))
    layer = torch.nn.Linear(5, 3)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), 0.5, 0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(rows), labels).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(found[:-1, 0], layer.weight.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[-1, 0], layer.bias, rtol=1e-4, atol=1e-5)
    assert torch.equal(guess(found, rows)[0], layer(rows).argmax(dim=1))


def test_the_step_size_is_chosen_without_test_images() -> None:
    (train, labels), (test, truth) = blobs(300, 0), blobs(100, 1)
    chosen = linear_probe(train, labels, test, truth, 0).chosen
    assert linear_probe(train, labels, test, 2 - truth, 0).chosen == chosen


def test_neighbours_vote_by_direction() -> None:
    train = np.array([[1, 0], [5, 0.1], [0, 1], [0.1, 7]] * 5, np.float32)
    labels = np.array([0, 0, 1, 1] * 5)
    test, truth = np.array([[9, 1], [1, 9], [3, 2]], np.float32), np.array([0, 1, 1])
    assert neighbour_accuracy(train, labels, test, truth) == pytest.approx(2 / 3)
