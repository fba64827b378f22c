"""Bundles on their way to a cluster: signatures, and images that hold a bundle and nothing else."""
