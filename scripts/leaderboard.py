"""python scripts/leaderboard.py key=value ...: the same as `imagier leaderboard`."""

from imagier.cli import main

if __name__ == "__main__":
    main("leaderboard")
