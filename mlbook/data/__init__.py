"""The data sets: `load(name)` for pictures by class, `sinusoids` for regression; `bandits`, `problems` to optimise."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mlbook.data.files import cache_folder, read_tensors, write_tensors
from mlbook.data.folder import load_folder
from mlbook.data.sinusoids import Sinusoids, sinusoids
from mlbook.episodes import Dataset

__all__ = ["Sinusoids", "load", "sinusoids"]

# Part of the cached file's name: raise it when the way a set is made changes.
VERSIONS = {"glyphs": 1, "omniglot": 1}


def load(name: str, fallback: str | None = None) -> Dataset:
    """Load a data set of pictures by class.

    Args:
        name: `"omniglot"` (1,623 handwritten characters, downloaded once or taken from
            `$MLBOOK_DATA/omniglot`), `"glyphs"` (printed characters, made here in seconds, no
            download), or `"folder:PATH"` (your own pictures, one folder a class, or one folder a
            group with a folder a class in it).
        fallback: A set to load instead, with a line that says so, where Omniglot cannot be had.

    Returns:
        The whole set; `split` divides it.

    Raises:
        ValueError: If the name is none of these, or a file is damaged.
        FileNotFoundError: If Omniglot is neither here nor can be downloaded, and there is no
            fallback.
    """
    if name.startswith("folder:"):
        return load_folder(Path(name.removeprefix("folder:")))
    if name not in VERSIONS:
        raise ValueError(f"load({name!r}): use 'omniglot', 'glyphs' or 'folder:PATH'")
    path = cache_folder() / f"{name}-v{VERSIONS[name]}.safetensors"
    if not path.exists():
        try:
            images, classes, groups = _make(name)
        except FileNotFoundError:
            if fallback is None or name != "omniglot":
                raise
            print(f"Omniglot could not be had, so this runs on {fallback!r} instead.")
            return load(fallback)
        write_tensors(path, {"images": images}, {"classes": classes, "groups": groups})
    tensors, facts = read_tensors(path)
    return Dataset(tensors["images"], facts["classes"], facts["groups"], name)


def _make(name: str) -> tuple[Tensor, list[str], list[str]]:
    # Imported here, so that `import mlbook` does not wait for Pillow and fonts.
    if name == "omniglot":
        from mlbook.data import omniglot as source
    else:
        from mlbook.data import glyphs as source  # type: ignore[no-redef]
    return source.make()
