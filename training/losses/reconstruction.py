"""The reconstruction error of an autoencoder.

Hinton, Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006.
"""

from torch import Tensor


def reconstruction_error(rebuilt: Tensor, pixels: Tensor, variance: float) -> Tensor:
    """Return the mean squared error as a share of the pixels' variance, a scalar: 1 for a plain mean, 0 at best.

    Args:
        rebuilt: float32 [N, C, H, W].
        pixels: float32 [N, C, H, W], the images that they should be.
        variance: variance of the data set's pixels.
    """
    return (rebuilt - pixels).square().mean() / variance
