"""Cars, trucks and buses: each a box of two cut-outs, the near end and the visible flank."""

from dataclasses import dataclass

import numpy as np

from imagier.synthetic.stage import Color, Cutout, Stage
from imagier.synthetic.street_houses import scaled, tinted
from imagier.synthetic.street_labels import Label
from imagier.synthetic.street_things import DARK, PAINT, WINDOW

TYRE: Color = (0.05, 0.05, 0.05)


@dataclass(frozen=True)
class Vehicle:
    """Label, colour and dimensions in metres; `towards` if it faces the camera."""

    label: Label
    color: Color
    width: float
    height: float
    length: float
    towards: bool

    @classmethod
    def draw_lots(cls, rng: np.random.Generator, label: Label, towards: bool) -> "Vehicle":
        """Draw the dimensions and colour of a vehicle of this kind."""
        low, high = {
            Label.CAR: ((1.7, 1.4, 3.8), (1.9, 1.75, 4.8)),
            Label.TRUCK: ((2.2, 2.6, 5.5), (2.5, 3.6, 9.0)),
            Label.BUS: ((2.4, 2.8, 9.0), (2.5, 3.2, 12.0)),
        }[label]
        width, height, length = rng.uniform(low, high)
        return cls(label, tinted(rng, PAINT), width, height, length, towards)

    def park(self, stage: Stage, rng: np.random.Generator, x: float, z: float) -> None:
        """Put it on the ground with the middle of its near end at (x, z)."""
        stage.shade(x, z + self.length * 0.3, self.width * 1.3, self.length, 0.65)
        if x < 0:  # left of the camera, the right flank is visible, its near end on the left
            flank, edge = self.flank(nose_left=self.towards), x + self.width / 2
            stage.hang(flank, (edge, 0, z), (0, 0, self.length), (0, self.height, 0))
        else:
            flank, edge = self.flank(nose_left=not self.towards), x - self.width / 2
            stage.hang(flank, (edge, 0, z + self.length), (0, 0, -self.length), (0, self.height, 0))
        stage.stand(self.end(rng), x, z, self.width, self.height)

    def cross(self, stage: Stage, rng: np.random.Generator, x: float, z: float) -> None:
        """Put it across the street, its flank to the camera."""
        stage.shade(x, z, self.length * 1.05, self.width * 1.4, 0.65)
        stage.stand(self.flank(nose_left=bool(rng.random() < 0.5)), x, z, self.length, self.height)

    def flank(self, nose_left: bool) -> Cutout:
        """Draw the side view."""
        side = Cutout(64, round(64 * self.length / self.height))
        if self.label is Label.CAR:
            self._car_flank(side)
        else:
            self._box_flank(side)
        radius = 0.33 / self.height
        for x in (0.2, 0.8):
            side.disc(x, 1 - radius, 0.33 / self.length, radius, TYRE, self.label)
            side.disc(x, 1 - radius, 0.17 / self.length, radius / 2, (0.45, 0.45, 0.46), self.label)
        if not nose_left:
            side.picture, side.label = side.picture[:, ::-1], side.label[:, ::-1]
        return side

    def _car_flank(self, side: Cutout) -> None:
        body, label = self.color, self.label
        hull = [(0, 0.62), (0.05, 0.52), (0.28, 0.44), (0.42, 0.02), (0.85, 0), (0.98, 0.4), (1, 0.86), (0, 0.86)]
        side.polygon(hull, body, label)
        side.polygon([(0.34, 0.42), (0.45, 0.08), (0.62, 0.07), (0.62, 0.42)], WINDOW, label)
        side.polygon([(0.65, 0.42), (0.65, 0.07), (0.83, 0.06), (0.92, 0.42)], WINDOW, label)
        side.box(0, 0.76, 1, 0.86, scaled(body, 0.5), label)
        side.box(0, 0.54, 0.04, 0.64, (0.9, 0.88, 0.8), label).box(0.97, 0.45, 1, 0.6, (0.7, 0.1, 0.08), label)

    def _box_flank(self, side: Cutout) -> None:
        label = self.label
        side.box(0, 0.02, 1, 0.88, self.color, label)
        if label is Label.BUS:
            for pane in np.arange(0.02, 0.95, 1.3 / self.length):
                side.box(pane, 0.12, pane + 1.15 / self.length, 0.48, WINDOW, label)
        else:
            cab = 1.8 / self.length
            side.box(0, 0, cab, 0.14, scaled(self.color, 0.3), label)
            side.box(0.1 * cab, 0.2, 0.7 * cab, 0.5, WINDOW, label)
            side.box(cab, 0, cab + 0.01, 0.88, DARK, label)
        side.box(0, 0.8, 1, 0.9, scaled(self.color, 0.4), label)

    def end(self, rng: np.random.Generator) -> Cutout:
        """Draw the front or rear view."""
        width = round(64 * self.width / self.height)
        near, label, body = Cutout(64, width), self.label, self.color
        for wheel in (0.04, 0.8):
            near.box(wheel, 0.8, wheel + 0.16, 1, TYRE, label)
        if label is Label.CAR:
            near.polygon([(0.14, 0), (0.86, 0), (0.97, 0.42), (1, 0.86), (0, 0.86), (0.03, 0.42)], body, label)
            near.polygon([(0.2, 0.06), (0.8, 0.06), (0.89, 0.38), (0.11, 0.38)], WINDOW, label)
        else:
            near.box(0, 0, 1, 0.9, body, label)
            if self.towards or label is Label.BUS:
                near.box(0.06, 0.12, 0.94, 0.48, WINDOW, label)
            else:
                near.box(0.49, 0, 0.51, 0.8, scaled(body, 0.6), label)
        lights = (0.92, 0.9, 0.8) if self.towards else (0.72, 0.1, 0.08)
        top = rng.uniform(0.5, 0.58) if label is Label.CAR else rng.uniform(0.66, 0.72)
        for lamp in (0.04, 0.78):
            near.box(lamp, top, lamp + 0.18, top + 0.1, lights, label)
        near.box(0.36, 0.68, 0.64, 0.76, (0.85, 0.85, 0.8), label)
        near.box(0, 0.78, 1, 0.88, scaled(body, 0.45), label)
        near.picture *= 0.85
        return near
