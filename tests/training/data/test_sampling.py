import torch

from tests.training.grow.made import images_of, recipe_of
from training.data.sampling import balanced
from training.grow.batches import JointBatches, NodeBatches


def test_small_groups_are_drawn_as_often() -> None:
    groups = [torch.arange(3), torch.arange(3, 103)]
    drawn = balanced(groups, 60, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=103)
    assert counts[:3].tolist() == [10, 10, 10]
    # Nothing is drawn twice before all have been drawn.
    assert counts[3:].max() == 1


def test_nested_groups_share_equally() -> None:
    groups = [torch.tensor([0]), [torch.tensor([1]), torch.tensor([2])]]
    drawn = balanced(groups, 40, torch.Generator().manual_seed(0))
    assert torch.bincount(drawn).tolist() == [20, 10, 10]


def test_batches_hold_training_images_of_the_node() -> None:
    images, recipe = images_of(), recipe_of(mode="replay", forgetting={"kept": 2})
    batches = NodeBatches(images, ("animal",), recipe, earlier=((),))
    own, kept = set(), set()
    for epoch in range(5):
        for batch in batches.epoch(torch.Generator().manual_seed(epoch)):
            for node, places in batch.members.items():
                rows = batch.places[places].numpy()
                assert (images.split[rows] == "train").all()
                assert (images.hierarchy.targets(node)[images.leaf[rows]] == batch.targets[node].numpy()).all()
                (own if node else kept).update(rows.tolist())
    # Of each of the root's two children two images are kept.
    assert len(kept) == 4
    assert len(own) == 18


def test_joint_batches_balance_every_level() -> None:
    images = images_of()
    batches = JointBatches(images, images.hierarchy.inner, recipe_of(), steps=6)
    found = list(batches.epoch(torch.Generator().manual_seed(0)))
    assert len(found) == 6
    leaves = torch.bincount(torch.from_numpy(images.leaf)[torch.cat([batch.places for batch in found])])
    assert leaves.tolist() == [12, 12, 24, 48]
