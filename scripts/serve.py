"""python scripts/serve.py key=value ...: the same as `imagier serve`."""

from imagier.cli import main

if __name__ == "__main__":
    main("serve")
