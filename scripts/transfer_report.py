"""python scripts/transfer_report.py key=value ...: the same as `imagier transfer-report`."""

from imagier.cli import main

if __name__ == "__main__":
    main("transfer-report")
