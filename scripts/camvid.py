"""python scripts/camvid.py SOURCE DEST: convert CamVid to the layout of Cityscapes, for `data=cityscapes`.

SOURCE is CamVid (Brostow et al. 2009) as distributed by SegNet's authors, 480 x 360 with eleven classes, the version
that most papers use. train/ and trainannot/, val/ and valannot/, test/ and testannot/ contain NAME.png; mask values are
classes from 0 to 10, or 11 for unlabelled pixels. Scores on test/ are comparable with published ones, as long as the
network predicts none of Cityscapes' eight other classes: each of those would enter the mean IoU as 0.

    python scripts/camvid.py CamVid camvid
    python train.py experiment=camvid_cpu data.root=camvid
    imagier evaluate ckpt=runs/latest data.root=camvid split=test
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from imagier.datamodules.mask_file import read_mask
from imagier.errors import ConfigError, DataError, ImagierError
from imagier.files import write_aside

# Sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist, unlabelled: Cityscapes' label ids.
IDS = np.array([23, 11, 17, 7, 8, 21, 20, 13, 26, 24, 25, 0], np.uint8)
CITY = "cambridge"


def convert(source: Path, dest: Path) -> dict[str, int]:
    """Write the frames and masks of `source` to `dest`; existing files are overwritten.

    Returns:
        Number of frames of each split that `source` has.

    Raises:
        ConfigError: `source` has no train or no val folder.
        DataError: a folder has no frames, or a frame has another name than CamVid's or cannot be read, or a mask is
            missing, unreadable or has values other than classes.
    """
    splits = [split for split in ("train", "val", "test") if (source / split).is_dir()]
    if not {"train", "val"} <= set(splits):
        raise ConfigError(
            f"{source} is not CamVid as distributed with SegNet: it needs the folders train, trainannot, val and "
            f"valannot, but has {', '.join(sorted(path.name for path in source.glob('*'))) or 'nothing'}."
        )
    return {split: _convert_split(source, dest, split) for split in splits}


def _convert_split(source: Path, dest: Path, split: str) -> int:
    frames = sorted((source / split).glob("*.png"))
    if not frames:
        raise DataError(f"{source / split} holds no .png; CamVid's frames belong there.")
    for frame in frames:
        name = _name_of(frame)
        mask = Image.fromarray(_ids_of(source / f"{split}annot" / frame.name))
        image = dest / "leftImg8bit" / split / CITY / f"{name}_leftImg8bit.png"
        labels = dest / "gtFine" / split / CITY / f"{name}_gtFine_labelIds.png"
        try:
            pixels = frame.read_bytes()
        except OSError as error:
            raise DataError(f"{frame} cannot be read: {error.strerror}.") from error
        write_aside(labels, partial(mask.save, format="png"))
        write_aside(image, partial(Path.write_bytes, data=pixels))
    return len(frames)


def _name_of(frame: Path) -> str:
    """Return the name in Cityscapes' scheme: 0016E5_08049 and Seq05VD_f00000 become videos 16 and 5 of CITY."""
    found = re.fullmatch(r"(?:Seq)?(\d+)[A-Z]\w*?_f?(\d+)", frame.stem)
    if not found:
        raise DataError(f"{frame} is not named as CamVid's frames are, such as 0016E5_08049.png.")
    return f"{CITY}_{int(found[1]):06d}_{int(found[2]):06d}"


def _ids_of(mask: Path) -> np.ndarray:
    """Read a mask of classes and return its Cityscapes label ids, uint8 [H, W]."""
    if not mask.is_file():
        raise DataError(f"{mask} is missing; each frame needs its mask there.")
    classes_HW = read_mask(mask, "A mask of eleven classes has one channel with values 0 to 11.")
    if classes_HW.max() >= len(IDS):
        raise DataError(f"{mask} has the value {classes_HW.max()}; a mask of eleven classes has 0 to 11.")
    return IDS[classes_HW]


def main() -> None:
    """Convert the data set, or print an error and exit with its code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("dest", type=Path, metavar="DEST")
    given = parser.parse_args()
    try:
        found = convert(given.source, given.dest)
    except ImagierError as error:
        print(f"camvid: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(
            f"camvid: {given.dest} cannot be written: {error}. Free some disk space, or name another folder.",
            file=sys.stderr,
        )
        sys.exit(ConfigError.exit_code)
    print(f"{given.dest}: {', '.join(f'{count} {split}' for split, count in found.items())} frames")


if __name__ == "__main__":
    main()
