"""python scripts/doctor.py key=value ...: the same as `imagier doctor`."""

from imagier.cli import main

if __name__ == "__main__":
    main("doctor")
