"""What the rooms share, free of torch: bundles, class maps, scores, image preparation, inference."""

__version__ = "0.1.0"
