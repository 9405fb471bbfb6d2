"""The modules of a figure put together as one piece of JavaScript, without node.

`mlbook/figures/` holds ES modules in a strict form: imports only as `import { a, b } from "./kit/x.js";`, each on one
line at the top; exports only as `export const|function|class NAME`, and in a figure one `export default`. Every module
becomes a function that is called once, in the order of dependence, so names of two modules cannot clash.
"""

from __future__ import annotations

import functools
import posixpath
import re
from importlib import resources

FOLDER = resources.files("mlbook") / "figures"
HOST = "kit/host.js"
_IMPORT = re.compile(r'import \{ ((?:\w+, )*\w+) \} from "(\.{1,2}/[\w./]+\.js)";')
_EXPORT = re.compile(r"(?m)^export (?=(?:async function|const|function|class) (\w+))")
_DEFAULT = re.compile(r"(?m)^export default (?=\{)")
_COMMENT = re.compile(r"(?ms)^[ \t]*(?://.*?$|/\*\*.*?\*/)\n")


def figures() -> list[str]:
    """The names of all figures."""
    return sorted(f.name.removesuffix(".js") for f in FOLDER.iterdir() if f.name.endswith(".js"))


def bundle(name: str) -> str:
    """One figure as a JavaScript expression: an object with the method `render({ model, el })`.

    Args:
        name: The file `mlbook/figures/NAME.js`.

    Raises:
        ValueError: If there is no such figure, or one of its modules is not in the strict form.
    """
    main = _file(name)
    return f"(() => {{\n{_modules((main,))}return __modules[{main!r}].default;\n}})()"


def esm(name: str) -> str:
    """One figure as an ES module, as `anywidget` takes it."""
    return f"export default {bundle(name)};\n"


def script(name: str) -> str:
    """One figure as a statement that brings the element `id` to life with `data`, by the host in `kit/host.js`."""
    main = _file(name)
    start = f"__modules[{HOST!r}].host(__modules[{main!r}].default, id, data);"
    return f"(() => {{\n{_modules((HOST, main))}{start}\n}})();"


def worker(file: str) -> str:
    """A module under `figures/` as the program of a Web Worker: its `serve(post)` gives what handles a message."""
    start = f"onmessage = __modules[{file!r}].serve((x) => postMessage(x));"
    return f"(() => {{\n{_modules((file,))}{start}\n}})();\n"


def site() -> str:
    """All figures as one classic script: it starts those that a page has put into `window.mlbookFigures`."""
    files = [_file(name) for name in figures()]
    table = ", ".join(f"{name}: __modules[{_file(name)!r}].default" for name in figures())
    start = f"__modules[{HOST!r}].hostAll({{ {table} }});"
    return f"(() => {{\n{_modules((HOST, *files))}{start}\n}})();\n"


def _file(name: str) -> str:
    if name not in figures():
        raise ValueError(f"there is no figure {name!r}; there are {', '.join(figures())}")
    return f"{name}.js"


@functools.cache
def _modules(mains: tuple[str, ...]) -> str:
    done: dict[str, str] = {}
    for file in mains:
        _add(file, done, ())
    return "const __modules = {};\n" + "".join(done.values())


def _add(file: str, done: dict[str, str], above: tuple[str, ...]) -> None:
    """Put a module, and before it what it imports, into `done`."""
    if file in done:
        return
    if file in above:
        raise ValueError(f"modules import each other in a circle: {' > '.join([*above, file])}")
    source = (FOLDER / file).read_text(encoding="utf-8")
    lines = []
    for number, line in enumerate(source.splitlines(), 1):
        if not line.startswith("import"):
            lines.append(line)
            continue
        found = _IMPORT.fullmatch(line)
        other = (
            posixpath.normpath(posixpath.join(posixpath.dirname(file), found[2])) if found else ""
        )
        if not found or not (FOLDER / other).is_file():
            raise ValueError(
                f"{file}:{number}: {line!r}; imports have the form "
                f'import {{ a, b }} from "./kit/x.js"; and name a file under mlbook/figures/'
            )
        _add(other, done, (*above, file))
        lines.append(f"const {{ {found[1]} }} = __modules[{other!r}];")
    text = "\n".join(lines) + "\n"
    exports = [*_EXPORT.findall(text), *(["default: __default"] if _DEFAULT.search(text) else [])]
    text = _DEFAULT.sub("const __default = ", _EXPORT.sub("", text))
    text = re.sub(r"(?m)^[ \t]+", "", _COMMENT.sub("", text))  # as short as reads well
    done[file] = (
        f"__modules[{file!r}] = (() => {{\n{text}return {{ {', '.join(exports)} }};\n}})();\n"
    )
