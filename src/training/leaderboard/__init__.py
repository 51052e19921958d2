"""`imagier leaderboard`: comparison of runs in tables, on a page and in plots."""

from pathlib import Path

from omegaconf import DictConfig

from imagier.errors import ConfigError, writing_to
from imagier.training.leaderboard.runs import find_runs
from imagier.training.leaderboard.settings import make_boards
from imagier.training.leaderboard.text import print_boards


def run(cfg: DictConfig) -> None:
    """Compare the runs at or below `cfg.runs`: print tables, and write leaderboard.html with its plots.

    Raises:
        ConfigError: if there is no run, or no setting with `cfg.seeds` seeds, or `cfg.output` cannot be written.
    """
    root = Path(cfg.runs).expanduser()
    if not root.is_dir():
        raise ConfigError(f"runs={cfg.runs} is not a folder; name the folder of your runs.")
    finished, unfinished, problems = find_runs(root)
    if not (finished or unfinished):
        told = f" {problems[0]}" if problems else ""
        raise ConfigError(f"runs={cfg.runs} contains no readable run; train something, or name another folder.{told}")
    boards = make_boards(finished, cfg.seeds)
    print_boards(boards, unfinished, problems)

    from imagier.training.leaderboard.page import write_page  # plotting is slow: the tables need not wait

    folder = Path(cfg.output).expanduser() if cfg.output else root / "leaderboard"
    with writing_to(folder):
        page = write_page(folder, boards, unfinished, problems)
    print(f"page: {page}")
