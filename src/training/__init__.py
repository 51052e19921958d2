"""Training runs: Trainer, callbacks, run folder, report, leaderboard."""
