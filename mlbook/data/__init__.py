"""The data sets: `load(name)` for pictures by class, `sinusoids` for regression; `bandits`, `problems` to optimise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from mlbook.data.files import cache_folder, cached
from mlbook.data.folder import is_folder, load_folder
from mlbook.data.sinusoids import Sinusoids, sinusoids
from mlbook.episodes import Dataset

__all__ = ["Sinusoids", "load", "sinusoids"]

# Part of the cached file's name: raise it when the way a set is made changes.
VERSIONS = {"glyphs": 3, "omniglot": 3}
SENTENCES = {"clinc150", "clinc150:unknown", "sentences", "sentences:unknown"}
GROCERIES = {"groceries", "groceries:train", "groceries:test", "groceries:catalogue"}


def load(
    name: str,
    fallback: str | None = None,
    *,
    size: int | None = None,
    channels: int | None = None,
    min_samples: int | None = None,
) -> Dataset:
    """Load a data set of pictures or sentences by class.

    Args:
        name: `"omniglot"` (1,623 handwritten characters, downloaded once or taken from
            `$MLBOOK_DATA/omniglot`), `"glyphs"` (printed characters, made here in seconds, no
            download), `"clinc150"` (sentences to an assistant, 150 intents of ten domains, 2.5 MB downloaded once
            or taken from `$MLBOOK_DATA/clinc150`; `"clinc150:unknown"` has its 1,200 sentences of no intent),
            `"sentences"` (a tenth of these, embedded already, no download; `"sentences:unknown"` too), `"emoji"`
            (a thousand concepts that four sets draw in colours, each in its own style; no download), `"groceries"`
            (photographs from shops, 123 MB downloaded once or taken from `$MLBOOK_DATA/groceries`; `"groceries:train"`,
            `"groceries:test"` and `"groceries:catalogue"` are its parts), or `"folder:PATH"` (your own pictures, one
            folder a class, or one folder a group with a folder a class in it).
        fallback: A set to load instead, with a line that says so, where the one asked for cannot be had.
        size: Of a folder's pictures and of groceries, pixels along a side; 28 if not said.
        channels: Of a folder's pictures: 1 (grey) or 3 (colours); 1 if not said and all are grey.
        min_samples: Classes of a folder with fewer pictures are left out. `load_folder` says more.

    Returns:
        The whole set; `split` divides it.

    Raises:
        ValueError: If the name is none of these, an argument does not fit it, or a file is damaged.
        FileNotFoundError: If the set is neither here nor can be downloaded, and there is no
            fallback.
    """
    for value in (name,) if fallback is None else (name, fallback):
        names = VERSIONS.keys() | SENTENCES | GROCERIES | {"emoji"}
        known = isinstance(value, str) and (value in names or value[:7] == "folder:" != value)
        if not known:
            listed = ", ".join(map(repr, sorted(names - VERSIONS.keys())))
            own = value and isinstance(value, (str, Path)) and is_folder(Path(value))
            hint = f"; for your own pictures load({f'folder:{value}'!r})" if own else ""
            raise ValueError(
                f"load({value!r}): use 'omniglot', 'glyphs' or 'folder:PATH', or {listed}{hint}"
            )
    if name.startswith("folder:"):
        path = Path(name.removeprefix("folder:"))
        return load_folder(path, 28 if size is None else size, channels, min_samples)
    sized = size is None or name in GROCERIES
    if not sized or (channels, min_samples) != (None, None):
        raise ValueError(
            f"load({name!r}): size={size!r}, channels={channels!r} and min_samples={min_samples!r} are for "
            "'folder:PATH' alone, size for 'groceries' too; leave them out"
        )
    try:
        return _load(name, size)
    except FileNotFoundError:
        if fallback is None:
            raise
        print(f"{name.capitalize()} could not be had, so this runs on {fallback!r} instead.")
        return load(fallback)


def _load(name: str, size: int | None) -> Dataset:
    part = name.partition(":")[2]
    if name in SENTENCES:
        from mlbook.data import clinc150, sentences

        return sentences.load(part) if name.startswith("sentences") else clinc150.load(part)
    if name in GROCERIES:
        from mlbook.data import groceries

        return groceries.load(part, 28 if size is None else size)
    if name == "emoji":
        from mlbook.data import emoji

        return emoji.load()
    source = _source(name)

    def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
        images, classes, groups = source.make()
        return {"images": images}, {"classes": classes, "groups": groups}

    # of Omniglot the digest of the pictures is a part of the name, so that no other ones are taken for them
    digest = f"-{source.PIXELS[:8]}" if name == "omniglot" else ""
    path = cache_folder() / f"{name}-v{VERSIONS[name]}{digest}.safetensors"
    tensors, facts = cached(path, name, make)
    return Dataset(tensors["images"], facts["classes"], facts["groups"], name)


def _source(name: str) -> Any:
    # Imported here, so that `import mlbook` does not wait for Pillow and fonts.
    if name == "omniglot":
        from mlbook.data import omniglot as source
    else:
        from mlbook.data import glyphs as source  # type: ignore[no-redef]
    return source
