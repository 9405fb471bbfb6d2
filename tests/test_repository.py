"""What stands in more than one file says the same everywhere, and what is shipped is complete."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import mlbook
from tools.repository import address, files, pages, slug, version

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__)
EXAMPLES = ROOT / "tests" / "tools" / "test_tools.py"  # addresses that are meant to differ


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, object]:
    return dict(tomllib.loads(text("pyproject.toml"))["project"])


def workflows() -> list[Path]:
    return sorted((ROOT / ".github" / "workflows").glob("*.yml"))


# --- the address and the version -----------------------------------------------------------------


def test_the_address_is_settled_in_one_place() -> None:
    configured = yaml.safe_load(text("_config.yml"))["repository"]["url"]
    assert configured == address()
    assert slug(address())


def test_every_other_mention_of_the_address_agrees() -> None:
    owner, name = slug(address())
    mention = re.compile(
        r"github\.com/([\w-]+)/([\w.-]*\w)|https://([\w-]+)\.github\.io/([\w.-]*\w)"
    )
    seen = 0
    for path in files():
        if path in (HERE, EXAMPLES):
            continue
        for o, n, page_owner, page in mention.findall(path.read_text(encoding="utf-8")):
            theirs = (o or page_owner).lower(), (n or page).removesuffix(".git")
            if theirs[0] == owner.lower() or theirs[1] in (name, "mlbook"):
                assert theirs == (owner.lower(), name), f"{path}: run make repository"
                seen += 1
    assert seen > 5


def test_the_places_that_must_name_the_address_do() -> None:
    urls = project()["urls"]
    assert isinstance(urls, dict)
    assert urls == {
        "Repository": address(),
        "Issues": f"{address()}/issues",
        "Book": pages(address()),
    }
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["repository-code"] == address()
    assert citation["url"] == pages(address())
    assert f"git+{address()}@v{version()}" in text("README.md")
    assert pages(address()) in text("README.md")


def test_the_version_agrees() -> None:
    assert mlbook.__version__ == version()
    assert yaml.safe_load(text("CITATION.cff"))["version"] == version()
    assert f"\n## {version()}\n" in text("CHANGELOG.md")
    for path in files():
        if path not in (HERE, EXAMPLES):
            for tag in re.findall(
                r"git\+https://\S+?@v([\d.]+\d)", path.read_text(encoding="utf-8")
            ):
                assert tag == version(), f"{path}: run make repository"


def test_licences() -> None:
    assert project()["license"] == "MIT"
    assert text("LICENSE").startswith("MIT License")
    assert "CC BY 4.0" in text("LICENSE-TEXT.md")


# --- what is installed ---------------------------------------------------------------------------


def constraints() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in text("constraints.txt").splitlines()]
    pins = [line.split("==") for line in lines if line]
    assert all(len(pin) == 2 for pin in pins), "constraints.txt holds exact pins only"
    return {canonicalize_name(name): number for name, number in pins}


# What the build of torch for Linux with CUDA brings, several gigabytes of it: not pinned, see constraints.txt.
CUDA = re.compile(r"(nvidia|cuda)-.+|(pytorch-)?triton")

Distribution = tuple[str, list[str]]  # a version, and what it asks for


def installed(name: str) -> Distribution:
    return importlib.metadata.version(name), importlib.metadata.requires(name) or []


def closure(
    requirements: list[str], look_up: Callable[[str], Distribution] = installed
) -> dict[str, str]:
    """Every distribution that the requirements bring on this machine, with its public version.

    What torch brings for CUDA, by itself or through another such distribution, is left out. If it is
    asked for by anything else, it is there.
    """
    found: dict[str, str] = {}
    todo = [(Requirement(r), "", False) for r in requirements]
    done: set[tuple[str, str, bool]] = set()
    while todo:
        requirement, extra, by_torch = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        cuda = by_torch and CUDA.fullmatch(name) is not None
        number, needs = look_up(name)
        if not cuda:
            found[name] = Version(number).public
        for wanted in ("", *requirement.extras):
            if (name, wanted, cuda) not in done:
                done.add((name, wanted, cuda))
                todo += [(Requirement(n), wanted, cuda or name == "torch") for n in needs]
    return found


def unpinned(brought: dict[str, str], pinned: dict[str, str]) -> list[str]:
    """What is brought and has no pin, and what is brought in another version than the pin's."""
    return sorted(f"{name}=={v}" for name, v in brought.items() if pinned.get(name) != v)


def everything() -> list[str]:
    """What the package and all its extras ask for."""
    facts = tomllib.loads(text("pyproject.toml"))["project"]
    extras = facts["optional-dependencies"].values()
    return [*facts["dependencies"], *(r for extra in extras for r in extra)]


def test_every_distribution_that_is_needed_is_pinned_and_installed_as_pinned() -> None:
    pinned, torch = constraints(), Version(importlib.metadata.version("torch")).public
    if torch != pinned["torch"] and Path(sys.prefix) != ROOT / ".venv":
        pytest.skip(f"torch {torch}: this environment is another set, not that of constraints.txt")
    assert unpinned(closure(everything()), pinned) == []


# torch 2.13.0 as PyPI serves it for Linux, and what it brings there.
TORCH_WITH_CUDA: dict[str, Distribution] = {
    "torch": (
        "2.13.0+cu130",
        [
            "sympy>=1.13.3",
            'cuda-bindings<14,>=13.0.3; python_version < "4"',
            "cuda-toolkit[cublas,cudart]==13.0.3",
            "nvidia-cudnn-cu13==9.20.0.48",
            "triton==3.7.1",
            'optree>=0.13; extra == "optree"',
        ],
    ),
    "sympy": ("1.14.0", ["mpmath<1.4,>=1.1.0"]),
    "mpmath": ("1.3.0", []),
    "cuda-bindings": ("13.5.0", ["cuda-pathfinder>=1.4.2"]),
    "cuda-pathfinder": ("1.5.0", []),
    "cuda-toolkit": (
        "13.0.3.0",
        ['nvidia-cublas==13.1.1.3.*; extra == "cublas"', 'nvidia-nvtx; extra == "nvtx"'],
    ),
    "nvidia-cublas": ("13.1.1.3", []),
    "nvidia-cudnn-cu13": ("9.20.0.48", ["nvidia-cublas"]),
    "triton": ("3.7.1", []),
}
PINNED = {"torch": "2.13.0", "sympy": "1.14.0", "mpmath": "1.3.0"}


def test_what_torch_alone_brings_for_cuda_is_left_open() -> None:
    brought = closure(["torch>=2.4"], TORCH_WITH_CUDA.__getitem__)
    assert brought == PINNED
    assert unpinned(brought, PINNED) == []


@pytest.mark.parametrize(
    ("requirements", "further", "found"),
    [
        (["torch", "somebody"], {"somebody": ("1.0", [])}, "somebody==1.0"),
        # asked for by torch and by somebody else: no longer torch's alone
        (["torch", "fast"], {"fast": ("1.0", ["nvidia-cublas"])}, "nvidia-cublas==13.1.1.3"),
        (["torch", "triton"], {}, "triton==3.7.1"),
        # not CUDA's, though it comes through what is
        (["torch"], {"triton": ("3.7.1", ["helper"]), "helper": ("2.0", [])}, "helper==2.0"),
        (["torch"], {"sympy": ("1.15.0", [])}, "sympy==1.15.0"),
        (["torch"], {"torch": ("2.13.1+cpu", ["sympy"])}, "torch==2.13.1"),
    ],
)
def test_what_else_is_not_pinned_is_found_beside_it(
    requirements: list[str], further: dict[str, Distribution], found: str
) -> None:
    brought = closure(requirements, (TORCH_WITH_CUDA | further).__getitem__)
    missing = unpinned(brought, {**PINNED, "fast": "1.0"})
    assert missing == [found]


def test_lower_bounds_leave_a_readers_torch_and_numpy_alone() -> None:
    dependencies = [
        Requirement(d) for d in tomllib.loads(text("pyproject.toml"))["project"]["dependencies"]
    ]
    for requirement in dependencies:
        assert {s.operator for s in requirement.specifier} <= {">="}, requirement


def test_the_wheel_carries_what_the_package_reads(tmp_path: Path) -> None:
    for name in ("mlbook", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    run = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if n.startswith("mlbook/")}
        archive.extractall(tmp_path / "installed")
    kinds = ("py.typed", "*.py", "figures/**/*.js", "pretrained/*.safetensors", "results/*.json")
    kinds += ("data/*.safetensors", "data/*.md", "data/*.txt")  # emoji and their licences
    here = {p.relative_to(ROOT).as_posix() for k in kinds for p in (ROOT / "mlbook").rglob(k)}
    assert here <= inside
    assert "mlbook/py.typed" in inside
    weights = list((ROOT / "mlbook" / "pretrained").glob("*.safetensors"))
    assert all(w.stat().st_size <= 3_000_000 for w in weights)
    assert sum(w.stat().st_size for w in weights) <= 25_000_000

    (tmp_path / "empty").mkdir()
    count = "import mlbook.results as r; print(r.__file__, len(r.stored('*')))"
    run = subprocess.run(
        [sys.executable, "-c", count],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    place, number = run.stdout.split()
    assert Path(place).is_relative_to(tmp_path / "installed"), "without a checkout"
    assert int(number) == len(list((ROOT / "mlbook" / "results").glob("*.json"))) > 70


# --- what counts as an error ---------------------------------------------------------------------


def warn_as(module: str, category: type[Warning]) -> list[str]:
    """What is shown when code of this module warns; an error where the warning is one."""
    with warnings.catch_warnings(record=True) as shown:
        exec(
            "import warnings; warnings.warn('to be mended', category)",
            {"__name__": module, "category": category},
        )
    return [str(w.message) for w in shown]


@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, FutureWarning])
def test_a_warning_of_ours_is_an_error_and_one_of_others_is_not(category: type[Warning]) -> None:
    for module in ("mlbook", "mlbook.fit", "mlbook.metric.matching", "tests.test_fit", "oracles"):
        with pytest.raises(category, match="to be mended"):
            warn_as(module, category)
    for module in ("matplotlib._fontconfig_pattern", "anyio", "torch.nn.functional", "mlbooks"):
        assert warn_as(module, category) == ["to be mended"]


def test_a_warning_for_which_we_are_the_caller_is_ours() -> None:
    theirs: dict[str, object] = {"__name__": "theirs", "warn": warnings.warn}
    exec("def outdated(): warn('use another', DeprecationWarning, stacklevel=2)", theirs)
    ours = {"__name__": "mlbook.fit", "outdated": theirs["outdated"]}
    with pytest.raises(DeprecationWarning, match="use another"):
        exec("outdated()", ours)
    with pytest.raises(RuntimeWarning, match="divide by zero"):
        exec("import numpy\nnumpy.float64(1) / numpy.float64(0)", ours)


# --- the ways to run it --------------------------------------------------------------------------


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][a-z-]*):", text("Makefile")))


def test_what_is_said_to_be_a_make_target_is_one() -> None:
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run", *map(str, workflows())):
        for target in re.findall(
            r"(?:`|^\s*|run: )make ([a-z][a-z-]+)\b", text(name), re.MULTILINE
        ):
            assert target in targets(), f"{name} says make {target}"


def test_help_lists_the_targets() -> None:
    run = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = set(re.findall(r"(?m)^  make ([a-z-]+) +\S", run.stdout))
    assert {"book", "serve", "test", "test-fast", "notebooks", "lint", "results"} <= listed
    assert listed <= targets()


def test_conda_installs_the_same_set() -> None:
    environment = yaml.safe_load(text("environment.yml"))
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    extras = ",".join(tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"])
    assert pip == ["-c constraints.txt", f"-e .[{extras}]"]
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert Version(python.removeprefix("python=")) in SpecifierSet(
        str(project()["requires-python"])
    )


@pytest.mark.parametrize("path", workflows(), ids=lambda p: p.name)
def test_workflows_are_well_formed(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"]["contents"] == "read"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
    for line in re.findall(r".*\buses: .*", path.read_text(encoding="utf-8")):
        assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"which version is it? {line}"


@pytest.mark.parametrize("path", workflows(), ids=lambda p: p.name)
def test_workflows_need_nothing_that_is_set_up_elsewhere(path: Path) -> None:
    assert not re.search(r"\$\{\{[^}]*\b(vars|secrets)\.", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        ([], None, None),
        (["CPU=1"], None, "https://download.pytorch.org/whl/cpu"),
        ([], "https://a.example/simple", "https://a.example/simple"),
        (
            ["CPU=1"],
            "https://a.example/simple",
            "https://a.example/simple https://download.pytorch.org/whl/cpu",
        ),
    ],
)
def test_cpu_adds_the_index_of_the_builds_without_cuda(
    given: list[str], before: str | None, after: str | None, tmp_path: Path
) -> None:
    """As the shells see it that make starts: the Makefile with one more target."""
    show = tmp_path / "Makefile"
    show.write_text(
        f"include {ROOT / 'Makefile'}\nshow:\n\t@printenv PIP_EXTRA_INDEX_URL || true\n"
    )
    outer = (
        "PIP_EXTRA_INDEX_URL",
        "CPU",
        "MAKEFLAGS",
        "MAKEOVERRIDES",
    )  # of the make that runs this
    environment = {k: v for k, v in os.environ.items() if k not in outer}
    environment |= {"PIP_EXTRA_INDEX_URL": before} if before else {}
    run = subprocess.run(
        ["make", "-s", "-f", show, "show", *given],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (run.stdout.strip() or None) == after
