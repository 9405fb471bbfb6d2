"""Anyone's own sentences: a table with a column of texts and one of labels."""

from __future__ import annotations

import csv
from pathlib import Path

from mlbook.data.files import printable

ENDINGS = {".csv", ".tsv"}
HEADER = "its first line must name the columns text and label, as in: text,label"


def sentences_of(path: Path) -> dict[str, list[str]]:
    """The sentences of each class, in the order of the classes' names, from a table as spreadsheets save it.

    The first line names the columns, of which `text` and `label` are read. They are parted by commas, semicolons or
    tabs, and the text is in UTF-8. Lines with nothing in them are passed over.

    Raises:
        ValueError: If the file cannot be read, has no such columns, a line lacks its text or its label, or there are
            fewer than two classes.
    """
    name = printable(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
            header = [cell.strip().lower() for cell in next(rows, [])]
            if not {"text", "label"} <= {*header}:
                raise ValueError(
                    f"{name} has the columns {', '.join(header) or 'of an empty file'}: {HEADER}"
                )
            at = header.index("text"), header.index("label")
            found: dict[str, list[str]] = {}
            for row in rows:
                text, label = (row[i].strip() if i < len(row) else "" for i in at)
                if not any(cell.strip() for cell in row):
                    continue
                if not text or not label:
                    lacks = "label" if text else "text"
                    raise ValueError(f"{name}, line {rows.line_num}: there is no {lacks}")
                found.setdefault(label, []).append(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not in UTF-8 ({error}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{name} is no table of text and label ({error})") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror})") from error
    if len(found) < 2:
        raise ValueError(f"{name} holds {len(found)} classes; at least two labels are needed")
    return dict(sorted(found.items()))
