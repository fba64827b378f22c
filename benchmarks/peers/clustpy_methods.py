"""ClustPy's DEC, IDEC and DCN on given images, in ClustPy's own environment (benchmarks/peers/clustpy.txt).

Everything is ClustPy's default: 784-500-500-2000-10, 100 epochs of pre-training, 150 of clustering, batches of 256. The
pre-training, which has the same defaults in all three, is done once and its seconds are counted for each.

    python clustpy_methods.py IMAGES.npz OUT SEED [PRETRAINING_EPOCHS CLUSTERING_EPOCHS]

IMAGES.npz holds ``train`` and ``test``, float32 [N, F], and ``clusters``; OUT gets one file per method with the
clusters of the test images and CPU seconds.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from clustpy.deep import DCN, DEC, IDEC
from clustpy.deep._train_utils import get_trained_network
from clustpy.deep.neural_networks import FeedforwardAutoencoder
from numpy.typing import NDArray

EPOCHS = (100, 150)
# ClustPy's default sizes.
LAYERS, BATCH = (500, 500, 2000, 10), 256
METHODS = {"DEC": DEC, "IDEC": IDEC, "DCN": DCN}


def main() -> None:
    """Pre-train once, then fit each method and write its clusters of the test images."""
    images, out, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    pretraining, clustering = [int(word) for word in sys.argv[4:]] or EPOCHS
    torch.set_num_threads(1)
    with np.load(images) as arrays:
        train, test, clusters = arrays["train"], arrays["test"], int(arrays["clusters"])
    began = time.process_time()
    network = pretrained(train, seed, pretraining)
    before = time.process_time() - began
    for name, method in METHODS.items():
        began = time.process_time()
        fitted = method(clusters, neural_network=network, clustering_epochs=clustering, random_state=seed).fit(train)
        seconds = before + time.process_time() - began
        np.savez(out / f"{name}.npz", found=fitted.predict(test), seconds=seconds)


def pretrained(train: NDArray[np.float32], seed: int, epochs: int) -> FeedforwardAutoencoder:
    """Return the autoencoder that each method would pre-train for itself."""
    torch.manual_seed(seed)
    layers = [train.shape[1], *LAYERS]
    return get_trained_network(
        data=train, n_epochs=epochs, batch_size=BATCH, neural_network_params={"layers": layers}, random_state=seed
    )


if __name__ == "__main__":
    main()
