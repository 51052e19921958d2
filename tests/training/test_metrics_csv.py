"""metrics.csv survives new columns and resumption."""

from pathlib import Path

from imagier.training.metrics_csv import MetricsCsv, read_rows


def test_rows_come_back_with_their_own_columns_only(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path / "metrics.csv")
    table.log_metrics({"train/loss": 1.5, "epoch": 0}, step=10)
    table.log_metrics({"val/iou": 0.25, "epoch": 0}, step=19)
    table.save()
    first, second = read_rows(tmp_path / "metrics.csv")
    assert first["train/loss"] == 1.5
    assert "val/iou" not in first
    assert (second["step"], second["val/iou"]) == (19, 0.25)


def test_a_row_without_a_new_column_is_added_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = MetricsCsv(path)
    for step in range(3):
        table.log_metrics({"train/loss": 1.5 - step, "epoch": 0}, step=step)
        table.save()
    before = path.stat().st_ino
    table.log_metrics({"train/loss": 0.25, "epoch": 1}, step=3)
    table.save()
    table.save()
    assert path.stat().st_ino == before  # appended to: rewriting would cost as much as all earlier rows
    assert [row["train/loss"] for row in read_rows(path)] == [1.5, 0.5, -0.5, 0.25]
    table.log_metrics({"val/loss": 0.75, "epoch": 1}, step=4)
    table.save()
    assert [row.get("val/loss") for row in read_rows(path)] == [None] * 4 + [0.75]
    path.write_text(path.read_text() + "1,5")  # as after a power failure
    assert [row["step"] for row in read_rows(path)] == [0, 1, 2, 3, 4]


def test_what_tells_no_epoch_is_of_the_last_one(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path / "metrics.csv")
    for metrics in ({"lr-AdamW": 0.1}, {"val/iou": 0.25, "epoch": 3}, {"lr-AdamW": 0.1}):  # as Lightning's monitors do
        table.log_metrics(metrics, step=10)
    table.save()
    assert [row["epoch"] for row in read_rows(tmp_path / "metrics.csv")] == [0, 3, 3]


def test_a_resumed_run_drops_what_it_will_log_again(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path / "metrics.csv")
    for step in (5, 10, 15, 20):
        table.log_metrics({"train/step_loss": 1 / step, "epoch": 0}, step=step)
    table.save()
    resumed = MetricsCsv(tmp_path / "metrics.csv", resumed_step=12)
    resumed.log_metrics({"train/step_loss": 0.5, "epoch": 0}, step=15)
    resumed.save()
    assert [row["step"] for row in read_rows(tmp_path / "metrics.csv")] == [5, 10, 15]
    assert read_rows(tmp_path / "metrics.csv")[-1]["train/step_loss"] == 0.5
    assert [row.split(",")[:2] for row in (tmp_path / "metrics.csv").read_text().split()[1:]] == [
        ["0", "5"], ["0", "10"], ["0", "15"],
    ]  # fmt: skip


def test_a_new_run_does_not_read_an_old_table(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,time\n0,1,2\n")
    assert MetricsCsv(tmp_path / "metrics.csv").rows == []
