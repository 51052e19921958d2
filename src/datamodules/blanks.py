"""Tries training transforms on blank images, so that what does not fit is reported before training starts."""

from collections.abc import Collection

import numpy as np

from imagier.transforms.augment import Augment, Target
from imagier.transforms.base import refuse_unequal

_DRAWS = 4  # per blank image: reveals a transform whose output size varies


def try_on_blanks(
    transform: Augment, sizes: Collection[tuple[int, int]], channels: int, meant: Target, alike: bool
) -> None:
    """Apply `transform` to blank images of the smallest and largest of `sizes`.

    Args:
        transform: of the training split.
        sizes: (height, width) of its images.
        channels: of its images.
        meant: target of one of them, for its kind.
        alike: whether the results must have equal sizes, so that they stack.

    Raises:
        ConfigError: a crop is larger than an image, or, with `alike`, the results differ in size.
    """
    ends = {end(sizes, key=key) for end in (min, max) for key in (lambda size: size, lambda size: size[::-1])}
    left = []
    for size in sorted(ends):
        image = np.zeros((*size, channels), np.uint8)
        target = meant if not isinstance(meant, np.ndarray) else image[..., 0] if meant.ndim == 2 else image
        left += [transform(image, target, seed)[0] for seed in range(_DRAWS)]
    if alike:
        refuse_unequal(left)
