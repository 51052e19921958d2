"""Objects in a street as cut-outs: people, cyclists, trees, lamps, signs, signals, bins."""

import numpy as np

from imagier.synthetic.noise import fractal_noise
from imagier.synthetic.stage import CLEAR, Color, Cutout
from imagier.synthetic.street_houses import LEAVES, leaf_through, scaled, tinted
from imagier.synthetic.street_labels import Label

CLOTHES: tuple[Color, ...] = (
    (0.12, 0.12, 0.14), (0.20, 0.24, 0.38), (0.45, 0.45, 0.45), (0.62, 0.20, 0.18), (0.75, 0.72, 0.66),
    (0.30, 0.34, 0.24), (0.46, 0.34, 0.24), (0.70, 0.58, 0.22),
)  # fmt: skip
SKIN: tuple[Color, ...] = ((0.78, 0.60, 0.50), (0.55, 0.38, 0.28), (0.36, 0.25, 0.19), (0.84, 0.70, 0.60))
PAINT: tuple[Color, ...] = (
    (0.10, 0.10, 0.11), (0.34, 0.35, 0.37), (0.62, 0.63, 0.65), (0.85, 0.85, 0.85), (0.50, 0.12, 0.12),
    (0.16, 0.24, 0.42), (0.22, 0.34, 0.26), (0.60, 0.52, 0.38),
)  # fmt: skip
METAL: tuple[Color, ...] = ((0.32, 0.33, 0.34), (0.52, 0.53, 0.54), (0.20, 0.24, 0.22), (0.42, 0.36, 0.30))
DARK: Color = (0.06, 0.06, 0.07)
WINDOW: Color = (0.16, 0.20, 0.24)


def person(rng: np.random.Generator, label: int = Label.PERSON) -> Cutout:
    """Someone standing or walking, in a frame half as wide as it is tall."""
    figure = Cutout(96, 48)
    coat, legs, skin = tinted(rng, CLOTHES), tinted(rng, CLOTHES), tinted(rng, SKIN, 0.04)
    stride, girth = rng.uniform(0.02, 0.2), rng.uniform(0.15, 0.21)
    hem = rng.uniform(0.5, 0.68)
    for side in (-1, 1):
        foot = 0.5 + side * (stride + 0.05)
        figure.polygon([(0.5 + side * 0.02 - 0.1, 0.5), (0.5 + side * 0.02 + 0.1, 0.5),
                        (foot + 0.07, 0.97), (foot - 0.07, 0.97)], legs, label)  # fmt: skip
        figure.box(foot - 0.09, 0.96, foot + 0.09, 1, DARK, label)
        swing = rng.uniform(-0.02, 0.16)
        figure.line([(0.5 + side * girth, 0.22), (0.5 + side * (girth + swing), 0.42), (0.5 + side * girth, 0.54)],
                    5, scaled(coat, 0.85), label)  # fmt: skip
    figure.polygon([(0.5 - girth, 0.18), (0.5 + girth, 0.18), (0.5 + girth * 0.9, hem), (0.5 - girth * 0.9, hem)],
                   coat, label)  # fmt: skip
    figure.box(0.44, 0.13, 0.56, 0.19, skin, label).disc(0.5, 0.09, 0.115, 0.08, skin, label)
    figure.disc(0.5, 0.06, 0.12, 0.06, tinted(rng, ((0.1, 0.08, 0.07), (0.4, 0.3, 0.2), (0.6, 0.6, 0.6))), label)
    return figure.grain(rng, 0.15, 8)


def cyclist(rng: np.random.Generator) -> Cutout:
    """A rider on a bicycle, or on a motorcycle, seen from the side, in a square frame."""
    figure = Cutout(84, 84)
    paint, coat = tinted(rng, PAINT), tinted(rng, CLOTHES)
    motor = rng.random() < 0.3
    wheels, stroke = (Label.MOTORCYCLE, 8) if motor else (Label.BICYCLE, 3)
    for x in (0.22, 0.78):
        figure.disc(x, 0.8, 0.2, 0.2, DARK, wheels)
        figure.disc(x, 0.8, 0.13, 0.13, (0.4, 0.4, 0.4), wheels if motor else CLEAR)
        if not motor:
            figure.line([(x, 0.62), (x, 0.98)], 1, DARK, wheels).line([(x - 0.18, 0.8), (x + 0.18, 0.8)], 1, DARK, 33)
    figure.line([(0.22, 0.8), (0.38, 0.55), (0.72, 0.53), (0.5, 0.8), (0.38, 0.55)], stroke, paint, wheels)
    figure.line([(0.78, 0.8), (0.7, 0.45), (0.64, 0.43)], stroke, paint, wheels)
    rider = Label.RIDER
    figure.line([(0.38, 0.5), (0.58, 0.62), (0.5, 0.85)], 9, tinted(rng, CLOTHES), rider)
    figure.polygon([(0.3, 0.5), (0.48, 0.54), (0.62, 0.26), (0.46, 0.22)], coat, rider)
    figure.line([(0.55, 0.27), (0.6, 0.42), (0.7, 0.44)], 5, scaled(coat, 0.85), rider)
    figure.disc(0.58, 0.12, 0.09, 0.11, tinted(rng, SKIN, 0.04), rider)
    figure.disc(0.57, 0.08, 0.1, 0.08, tinted(rng, PAINT), rider)
    if rng.random() < 0.5:
        figure.picture, figure.label = figure.picture[:, ::-1], figure.label[:, ::-1]
    return figure


def bicycle(rng: np.random.Generator) -> Cutout:
    """A parked bicycle, or motorcycle: that of a cyclist, without the rider."""
    parked = cyclist(rng)
    parked.label[parked.label == Label.RIDER] = CLEAR
    return parked


def tree(rng: np.random.Generator) -> Cutout:
    """A trunk under a ragged crown, in a frame two thirds as wide as it is tall."""
    height, width = shape = 96, 64
    plant = Cutout(height, width, tinted(rng, LEAVES))
    leaf_through(rng, plant)
    rows, columns = np.ogrid[:height, :width]
    middle, half = rng.uniform(0.34, 0.42), rng.uniform(0.3, 0.36)
    across, down = ((columns + 0.5) / width - 0.5) / 0.45, ((rows + 0.5) / height - middle) / half
    crown = across * across + down * down + 1.1 * (fractal_noise(rng, shape, 18) - 0.4) < 0.85
    bark = tinted(rng, ((0.26, 0.20, 0.15), (0.36, 0.33, 0.29), (0.18, 0.16, 0.14)))
    leaves = plant.picture[crown]
    plant.polygon([(0.46, middle), (0.54, middle), (0.56, 1), (0.44, 1)], bark, Label.VEGETATION)
    plant.picture[crown], plant.label[crown] = leaves, Label.VEGETATION
    return plant


def lamp(rng: np.random.Generator) -> Cutout:
    """A street lamp with an arm; its frame is a fifth as wide as it is tall."""
    color = tinted(rng, METAL)
    post = Cutout(180, 36).box(0.44, 0.03, 0.58, 1, color, Label.POLE).box(0.4, 0.9, 0.62, 1, color, Label.POLE)
    end = 0.98 if rng.random() < 0.5 else 0.02
    post.line([(0.5, 0.03), (end, 0.015)], 3, color, Label.POLE)
    return post.disc(abs(end - 0.06), 0.02, 0.14, 0.018, (0.85, 0.83, 0.7), Label.POLE)


def sign(rng: np.random.Generator) -> Cutout:
    """A traffic sign on its post; the frame is a quarter as wide as it is tall."""
    post = Cutout(120, 30).box(0.44, 0.1, 0.56, 1, tinted(rng, METAL), Label.POLE)
    kind, label = rng.integers(4), Label.TRAFFIC_SIGN
    red, white, blue = (0.66, 0.12, 0.12), (0.86, 0.86, 0.84), (0.14, 0.28, 0.62)
    if kind == 0:
        post.disc(0.5, 0.14, 0.5, 0.125, red, label).disc(0.5, 0.14, 0.34, 0.085, white, label)
    elif kind == 1:
        post.polygon([(0.5, 0), (1, 0.24), (0, 0.24)], red, label)
        post.polygon([(0.5, 0.07), (0.76, 0.21), (0.24, 0.21)], white, label)
    elif kind == 2:
        post.box(0.02, 0.02, 0.98, 0.26, blue, label).box(0.3, 0.07, 0.7, 0.21, white, label)
    else:
        post.disc(0.5, 0.14, 0.5, 0.125, blue, label).line([(0.5, 0.22), (0.5, 0.08)], 4, white, label)
    return post


def signal(rng: np.random.Generator) -> Cutout:
    """A traffic light on its post; the frame is a sixth as wide as it is tall."""
    post = Cutout(132, 22).box(0.42, 0.1, 0.58, 1, tinted(rng, METAL), Label.POLE)
    post.box(0.12, 0, 0.88, 0.3, (0.08, 0.09, 0.08), Label.TRAFFIC_LIGHT)
    lit = rng.integers(3)
    for lens, color in enumerate(((0.95, 0.15, 0.1), (0.95, 0.7, 0.1), (0.15, 0.85, 0.4))):
        shown = color if lens == lit else scaled(color, 0.25)
        post.disc(0.5, 0.055 + 0.095 * lens, 0.24, 0.038, shown, Label.TRAFFIC_LIGHT)
    return post


def bin_or_box(rng: np.random.Generator) -> Cutout:
    """A litter bin or a cabinet, which Cityscapes labels as static and does not evaluate."""
    color = tinted(rng, (*PAINT, *METAL))
    thing = Cutout(48, 32).box(0.05, 0.06, 0.95, 1, color, Label.STATIC)
    return thing.box(0, 0, 1, 0.12, scaled(color, 0.6), Label.STATIC).grain(rng, 0.2, 10)
