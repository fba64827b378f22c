from typing import Any

import pytest
import torch

from clustnet.errors import UserError
from tests.training.deep import ARCHITECTURE
from tests.training.tiny import noise
from training.models.architecture import parse_architecture
from training.models.build import build_network
from training.models.config import MixtureModel
from training.models.deep_clusters import DeepClusters
from training.models.mixture import MixtureOfExperts
from training.models.spec import DeepClustersSpec, MixtureSpec, NetworkSpec, read_spec

IMAGES: dict[str, Any] = {"image_shape": (28, 28), "mean": (0.1307,), "std": (0.3081,)}
LABELS = ("a", "b", "c")
MIXTURE = MixtureSpec(coarse_labels=LABELS, model=MixtureModel(experts=2, channels=(4, 8), embedding=16), **IMAGES)
CLUSTERS = DeepClustersSpec(
    coarse_labels=LABELS, architecture=parse_architecture(ARCHITECTURE, "here"), clusters=(1, 2, 1), **IMAGES
)


@pytest.mark.parametrize(("spec", "kind"), [(MIXTURE, MixtureOfExperts), (CLUSTERS, DeepClusters)])
def test_network_is_rebuilt_from_plain_values(spec: NetworkSpec, kind: type) -> None:
    network = build_network(spec)
    assert type(network) is kind
    again = build_network(read_spec(spec.model_dump(mode="json")))
    again.load_state_dict(network.state_dict())
    for one, other in zip(network.eval()(noise(3)), again.eval()(noise(3)), strict=True):
        assert torch.equal(one, other)
    assert again.expert(0, noise(3)).shape == (3, len(LABELS))


def test_spec_keeps_means_to_the_last_bit() -> None:
    assert read_spec(MIXTURE.model_dump(mode="json")) == MIXTURE


def test_architecture_for_other_images_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"The architecture tiny reads images of 1x28x28, but the images are 3x20x28; name another"
    ):
        build_network(CLUSTERS.model_copy(update={"image_shape": (20, 28, 3)}))
