"""Plots and image grids of a run, pure functions to uint8 [H, W, 3]: for report, TensorBoard, W&B and predictions."""

from imagier.training.pictures.charts import class_bars, class_colors, confusion_chart
from imagier.training.pictures.curves import History, draw_curves, read_history
from imagier.training.pictures.levels import level_chart
from imagier.training.pictures.rates import Comparison, Curve, rate_chart
from imagier.training.pictures.sample import Sample
from imagier.training.pictures.samples import batch_grid, sample_grid

__all__ = [
    "Comparison",
    "Curve",
    "History",
    "Sample",
    "batch_grid",
    "class_bars",
    "class_colors",
    "confusion_chart",
    "draw_curves",
    "level_chart",
    "rate_chart",
    "read_history",
    "sample_grid",
]
