"""The rate-distortion loss of learned codecs, after Ballé et al. 2018, arXiv 1802.01436."""

from torch import Tensor, nn


class RateDistortion(nn.Module):
    """Mean over the images of R + lambda D: R in bits per pixel, D the mean squared error on the scale 0 to 255."""

    def forward(self, image_BCHW: Tensor, target_BCHW: Tensor, bits_B: Tensor, lambda_B: Tensor) -> Tensor:
        """Return the loss, float32, a scalar.

        Args:
            image_BCHW: the decoded images, float, 0 to 1.
            target_BCHW: the original images, float, 0 to 1.
            bits_B: the cost of each image in bits.
            lambda_B: the weight of each image's distortion; small values give small files.
        """
        rate_B = bits_B.float() / target_BCHW[0, 0].numel()
        error_B = (image_BCHW.float() - target_BCHW.float()).square().mean(dim=(1, 2, 3)) * 255**2
        return (rate_B + lambda_B * error_B).mean()
