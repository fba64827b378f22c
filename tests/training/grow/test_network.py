import pytest
import torch

from tests.training.grow.made import images_of
from training.grow.learning import add_node, new_network
from training.grow.network import Block, DenseBlock, GrownNetwork, GrownSpec, network_of, pooled, state_of

NODES = ((), ("animal",), ("animal", "canine"))


def grown() -> GrownNetwork:
    network = new_network(images_of(), 0)
    for node in NODES:
        add_node(network, images_of(), node, 0)
    return network.eval()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (8, 8)])
def test_any_depth_reads_any_size(height: int, width: int) -> None:
    network = GrownNetwork(GrownSpec(image_shape=(height, width, 3), mean=(0.5,) * 3, std=(0.2,) * 3, width=2))
    for depth in range(6):
        network.grow(("a",) * depth, ("a", "b"))
    images = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8)
    assert network.eval()(images, ("a",) * 5).shape == (3, 2)


def test_new_block_begins_as_its_parent() -> None:
    maps = torch.rand(2, 4, 8, 8)
    means = pooled(Block(4).eval()(maps))
    assert torch.allclose(means, pooled(maps).repeat(1, 2), atol=1e-6)
    rows = torch.randn(3, 6)
    assert torch.equal(DenseBlock(6, 2).eval()(rows), rows)


def test_shared_logits_equal_those_one_by_one() -> None:
    network, images = grown(), images_of().images
    members = {(): torch.arange(10), ("animal", "canine"): torch.tensor([1, 4, 20])}
    found = network.logits_of(network.normalise(images), members)
    for node, places in members.items():
        assert torch.allclose(found[node], network(images[places], node), atol=1e-6)
    assert set(network.all_logits(network.normalise(images))) == set(NODES)


def test_probabilities_are_products_along_the_path() -> None:
    network, images = grown(), images_of().images
    logits = network.all_logits(network.normalise(images))
    found = network.label_probability(logits)
    of = {label: found[:, number] for number, label in enumerate(network.labels)}
    expected = logits[()].softmax(1)[:, 0] * logits[("animal",)].softmax(1)[:, 0]
    assert torch.allclose(of["animal", "canine"], expected)
    assert torch.allclose(of["animal", "canine", "beagle"] + of["animal", "canine", "poodle"], expected)
    assert network.parents == (-1, -1, 0, 0, 2, 2)


def test_state_rebuilds_the_network() -> None:
    network, images = grown(), images_of().images
    again = network_of(state_of(network))
    assert again.spec == network.spec
    assert torch.equal(again(images, ("animal",)), network(images, ("animal",)))


def test_a_child_needs_its_parent() -> None:
    network = new_network(images_of(), 0)
    with pytest.raises(ValueError, match="parent is not"):
        network.grow(("animal",), ("a", "b"))
