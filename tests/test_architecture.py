"""The house rules that a machine can hold: imports go one way, importing is cheap, nothing prints or pickles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("simulate", "cs_recon", "segmentation")
ALLOWED = {"simulate": {"simulate"}, "cs_recon": {"simulate", "cs_recon"}, "segmentation": set(PACKAGES)}
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file):
    package = file.relative_to(ROOT).parts[0]
    used = set(imported(ast.parse(file.read_text(encoding="utf-8")))) & set(PACKAGES)
    assert used <= ALLOWED[package]
    if package == "simulate":
        assert "torch" not in set(imported(ast.parse(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_fit_in_the_head_and_are_documented(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("package", PACKAGES)
def test_inits_are_tables_of_contents(package):
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    kinds = {type(node) for node in tree.body[1:]}
    assert kinds <= {ast.ImportFrom, ast.Assign}


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("simulate", {"torch", "matplotlib", "pandas", "skimage", "numba", "h5py", "abtem"}),
        ("cs_recon", {"matplotlib", "torchvision", "rsciio", "dask"}),
        ("segmentation", {"matplotlib", "rsciio", "dask", "hyperspy", "torchvision"}),
        ("segmentation.cli.main", {"matplotlib", "rsciio", "dask", "hyperspy", "torchvision", "numba"}),
    ],
)
def test_import_is_cheap(module, forbidden):
    code = f"import sys, {module}; print(*[m for m in {sorted(forbidden)!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []
