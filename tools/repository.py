"""Carry the repository's address and version to every place that mentions them.

    python tools/repository.py --url https://github.com/OWNER/NAME
    python tools/repository.py --version 0.2.0
    python tools/repository.py             # neither changes: only carry them (a new notebook, say)

The address stands in `_config.yml` (`repository: url:`), the version in `pyproject.toml`; all other
mentions are copies, which `tests/test_repository.py` checks.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {
    ".git", ".venv", "_build", "build", "__pycache__", "runs", ".ipynb_checkpoints",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "pretrained", "node_modules",
}  # fmt: skip
TEXT = {".cff", ".css", ".ipynb", ".js", ".json", ".md", ".py", ".svg", ".toml", ".txt", ".yml"}
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]*[A-Za-z0-9_-])/?")
IN_CONFIG = re.compile(r"(?m)^(repository:\n(?:[ \t]+.*\n)*?[ \t]+url:[ \t]*)(\S+)")
VERSION = re.compile(r"\d+\.\d+\.\d+(?:\.?(?:a|b|rc|dev|post)\d+)?")


def files() -> Iterator[Path]:
    """Every text file of the project."""
    for folder, inner, names in os.walk(ROOT):
        inner[:] = sorted(d for d in inner if d not in SKIPPED and not d.endswith(".egg-info"))
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix in TEXT or path.name in ("Makefile", "run"):
                yield path


def address() -> str:
    """The address in `_config.yml`."""
    found = IN_CONFIG.search((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if not found:
        sys.exit("error: _config.yml has no `repository: url:`")
    return found[2].rstrip("/")


def version() -> str:
    """The version in `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def slug(url: str) -> tuple[str, str]:
    """Owner and name: `https://github.com/OWNER/NAME`."""
    found = ADDRESS.fullmatch(url)
    if not found:
        raise ValueError(f"{url!r}: the address has the form https://github.com/OWNER/NAME")
    return found[1], found[2].removesuffix(".git")


def pages(url: str) -> str:
    """Where GitHub publishes the site of this repository."""
    owner, name = slug(url)
    return f"https://{owner.lower()}.github.io/{name}/"


def colab_cell(url: str, number: str, notebook: Path | None = None) -> str:
    """The first code cell of a notebook, with what it needs: in `practice` that is more than `lab`."""
    extras = "lab"
    if notebook is not None and notebook.parent.name == "practice":
        own = notebook.stem in ("pictures", "sentences")  # pretrained networks, and files in ONNX
        extras += ",practice,export" if own else ",applications"
    return (
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f'    %pip install -q "mlbook[{extras}] @ git+{url}@v{number}"'
    )


def carry(text: str, old: str, new: str, number: str) -> str:
    """One file's text with every mention of the old address, and the tag after it, renewed."""
    was, now = "/".join(slug(old)), "/".join(slug(new))
    edge = r"(?![A-Za-z0-9_-])"
    text = re.sub(rf"(github\.com/){re.escape(was)}{edge}", rf"\g<1>{now}", text)
    text = re.sub(
        rf"(colab\.research\.google\.com/github/){re.escape(was)}{edge}", rf"\g<1>{now}", text
    )
    text = re.sub(re.escape(pages(old).rstrip("/")) + edge, pages(new).rstrip("/"), text)
    return re.sub(rf"(git\+{re.escape(new)}@v){VERSION.pattern}", rf"\g<1>{number}", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="the new address, https://github.com/OWNER/NAME")
    parser.add_argument("--version", help="the new version, such as 0.2.0")
    arguments = parser.parse_args()
    old, was = address(), version()
    try:
        new = "https://github.com/" + "/".join(slug(arguments.url or old))
    except ValueError as error:
        parser.error(str(error))
    number = arguments.version or was
    if not VERSION.fullmatch(number):
        parser.error(f"{number!r}: a version is three numbers, such as 0.2.0")
    places = {  # where the version stands besides the tags
        "pyproject.toml": r'(?m)^(version = ")[^"]+',
        "mlbook/__init__.py": r'(?m)^(__version__ = ")[^"]+',
        "CITATION.cff": r"(?m)^(version: ).+",
    }
    changed = 0
    for path in files():
        text = path.read_text(encoding="utf-8")
        carried = carry(text, old, new, number)
        if pattern := places.get(path.relative_to(ROOT).as_posix()):
            carried = re.sub(pattern, rf"\g<1>{number}", carried)
        if carried != text:
            path.write_text(carried, encoding="utf-8")
            print(path.relative_to(ROOT))
            changed += 1
    print(f"{new}, version {number}: {changed} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
