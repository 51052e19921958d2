"""Report sections that show samples, common to all tasks."""

from imagier.training.pictures import batch_grid, sample_grid
from imagier.training.report.summary import Section, Summary


def samples_section(summary: Summary, caption: str) -> list[Section]:
    """Return a section of samples with predictions; none without samples."""
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
    """Return a section of the first training samples; none if they are unknown."""
    if not summary.first_batch:
        return []
    picture = batch_grid(summary.first_batch, summary.facts)
    return [Section("first_batch", "First batch", caption, picture, "The first training samples", photograph=True)]
