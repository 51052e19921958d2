"""imagier: from a folder of images to a trained, measured and reported model.

Importing this package imports neither torch nor Lightning: a sentence that only prints its configuration stays quick.
"""

from imagier.version import __version__

__all__ = ["__version__"]
