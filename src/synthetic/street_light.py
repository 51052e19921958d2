"""Time of day, weather and sky."""

import numpy as np

from imagier.synthetic.noise import fractal_noise
from imagier.synthetic.stage import Light, Stage
from imagier.synthetic.street_labels import Label

GAINS = {
    "noon": (1.08, 1.05, 1.0),
    "grey": (0.74, 0.77, 0.82),
    "evening": (0.86, 0.66, 0.52),
    "blue hour": (0.4, 0.45, 0.6),
}
SKIES = {  # overhead, above the horizon
    "noon": ((0.36, 0.52, 0.80), (0.74, 0.82, 0.90)),
    "grey": ((0.62, 0.65, 0.70), (0.78, 0.78, 0.78)),
    "evening": ((0.46, 0.44, 0.54), (0.90, 0.64, 0.46)),
    "blue hour": ((0.16, 0.20, 0.34), (0.46, 0.42, 0.48)),
}


def draw_light(rng: np.random.Generator) -> Light:
    """Draw noon, a grey day, evening or blue hour, each with random weather."""
    mood = str(rng.choice(list(GAINS), p=(0.4, 0.35, 0.15, 0.1)))
    zenith, horizon = (np.array(color) + rng.uniform(-0.06, 0.06, 3) for color in SKIES[mood])
    gain = np.array(GAINS[mood]) * rng.uniform(0.85, 1.1) * rng.uniform(0.92, 1.08, 3)
    sun = 0 if mood in ("grey", "blue hour") else int(rng.choice((-1, 1)))
    sight = rng.uniform(60, 120) if rng.random() < 0.2 else rng.uniform(200, 500)
    clouds = rng.uniform(0.6, 1) if mood == "grey" else rng.uniform(0, 0.7)
    return Light(gain.astype(np.float32), zenith.astype(np.float32), horizon.astype(np.float32), sight, sun, clouds)


def paint_sky(stage: Stage, rng: np.random.Generator) -> None:
    """Paint the sky with its clouds down to the horizon."""
    height, width = stage.label.shape
    light, rows = stage.light, int(stage.center[1]) + 2
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    sky = light.zenith * (1 - fall) + light.horizon * fall
    cover = fractal_noise(rng, (rows, width), (height / 9, width / 4), 4)[..., None]
    clouds = np.clip((cover - 0.75 + 0.5 * light.clouds) * 4, 0, 0.85) * (1 - 0.4 * fall)
    white = np.minimum(light.gain * rng.uniform(0.85, 1.05), 1.0) * (0.75 + 0.35 * cover)
    stage.picture[:rows] = sky * (1 - clouds) + white * clouds
    stage.label[:rows] = Label.SKY
