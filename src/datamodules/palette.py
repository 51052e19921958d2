"""Colours for classes that have none of their own."""

import colorsys

Color = tuple[int, int, int]

# Multiples of these spread evenly over a cube, however many are taken: powers of the positive root of x^4 = x + 1
# (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
_STEPS = (0.8191725134, 0.6710436067, 0.5497004779)
_FIRST = 4  # of the early starting points, the one whose first ten colours lie furthest apart


def distinct_colors(count: int) -> tuple[Color, ...]:
    """`count` different RGB triples of 0 to 255; the first ones do not depend on how many are asked for."""
    return tuple(_color(index) for index in range(count))


def _color(index: int) -> Color:
    hue, saturation, value = ((index + _FIRST) * step % 1 for step in _STEPS)
    # Neither so pale nor so dark that a line or a label would vanish on a white or a black page.
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.45 + 0.55 * saturation, 0.55 + 0.4 * value)
    return round(255 * red), round(255 * green), round(255 * blue)
