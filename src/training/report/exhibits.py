"""The sections that show samples, as every task has them."""

from imagier.training.pictures import batch_grid, sample_grid
from imagier.training.report.summary import Section, Summary


def samples_section(summary: Summary, caption: str) -> list[Section]:
    """Samples with what the net made of them; nothing where there are none."""
    if not summary.samples:
        return []
    names = ", ".join(sample.id for sample in summary.samples[:12])
    picture = sample_grid(summary.samples, summary.facts)
    return [
        Section("samples", "Samples", caption, picture, f"Ground truth next to prediction for {names}", photograph=True)
    ]


def first_batch_section(
    summary: Summary, caption: str = "The first training samples as the network sees them, after augmentation."
) -> list[Section]:
    """What training began with; nothing where it is not known."""
    if not summary.first_batch:
        return []
    picture = batch_grid(summary.first_batch, summary.facts)
    return [Section("first_batch", "First batch", caption, picture, "The first training samples", photograph=True)]
