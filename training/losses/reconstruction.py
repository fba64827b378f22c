"""The reconstruction error of an autoencoder.

Hinton, Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006.
"""

from torch import Tensor


def reconstruction_error(rebuilt: Tensor, pixels: Tensor, variance: float) -> Tensor:
    """Return the mean squared error divided by the pixels' variance, a scalar: 0 at best, 1 for predicting the mean.

    Args:
        rebuilt: float32 [N, C, H, W].
        pixels: float32 [N, C, H, W], the images to reconstruct.
        variance: variance of the data set's pixels.
    """
    return (rebuilt - pixels).square().mean() / variance
