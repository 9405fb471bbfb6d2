"""Anyone's own pictures: one folder a class."""

from __future__ import annotations

from pathlib import Path

import torch

from mlbook.episodes import Dataset

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def load_folder(path: Path, size: int = 28) -> Dataset:
    """Read `PATH/class/picture.png`, or `PATH/group/class/picture.png`, into a data set.

    Pictures are stretched to `size` x `size`; grey if every file is stored as grey, else with three colours.
    Every class gets as many samples as the smallest one has, the first in the order of their names.

    Args:
        path: The folder.
        size: Pixels along a side.

    Raises:
        ValueError: If the folder is missing, holds fewer than two classes, a class is empty, or a
            picture cannot be read.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    if not path.is_dir():
        raise ValueError(
            f"{path} is not a folder; it should hold one folder of pictures for each class"
        )
    files: dict[tuple[str, str], list[Path]] = {}
    for outer in sorted(p for p in path.iterdir() if p.is_dir()):
        inner = sorted(p for p in outer.iterdir() if p.is_dir())
        for folder in inner or [outer]:
            pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
            if not pictures:
                raise ValueError(
                    f"{folder} holds no pictures ({', '.join(sorted(ENDINGS))}); fill it or remove it"
                )
            files[(outer.name if inner else path.name, folder.name)] = pictures
    if len(files) < 2:
        raise ValueError(
            f"{path} holds {len(files)} classes; few-shot tasks need at least two folders of pictures"
        )
    samples = min(map(len, files.values()))

    def read(file: Path) -> Image.Image:
        try:
            with Image.open(file) as picture:
                plain = picture.convert("L" if picture.mode in ("1", "L", "I;16") else "RGB")
                return plain.resize((size, size), Image.Resampling.LANCZOS)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{file} cannot be read as a picture ({error}); repair or remove it"
            ) from error

    read_in = [[read(file) for file in pictures[:samples]] for pictures in files.values()]
    mode = "L" if all(p.mode == "L" for row in read_in for p in row) else "RGB"
    arrays = np.stack([np.stack([np.asarray(p.convert(mode)) for p in row]) for row in read_in])
    images = (
        torch.from_numpy(arrays)
        .reshape(len(files), samples, size, size, -1)
        .permute(0, 1, 4, 2, 3)
        .contiguous()
    )
    names = [f"{group}/{name}" if group != path.name else name for group, name in files]
    return Dataset(images, names, [group for group, _ in files], f"folder:{path}")
