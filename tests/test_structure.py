"""Imports run one way, only one module knows each host, and importing does nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {"torch", "numpy", "scipy", "safetensors", "matplotlib", "tqdm", "PIL"}
#: What each part may import of the pack, and of others beside the standard library.
ALLOWED = {
    "solvers": (set(), {"torch", "tqdm"}),
    "solvers/methods": (set(), set()),
    "ratios": ({"solvers"}, {"torch", "numpy", "scipy", "safetensors", "matplotlib"}),
    "demo": ({"solvers", "ratios"}, LIBRARIES | {"sklearn"}),
    "nodes": ({"solvers", "ratios"}, {"torch"}),
    "web/panel": ({"ratios"}, {"numpy", "matplotlib"}),
    "scripts/webui": (
        {"solvers", "ratios", "web"},
        {"torch", "gradio", "modules", "modules_forge"},
    ),
}
#: The modules of the panel that know Gradio, loaded only where it is drawn.
GRADIO = {
    "layout.py": {"gradio"},
    "versions.py": {"gradio"},
    "alone.py": {"gradio", "fastapi", "uvicorn"},
}
#: The modules that know ComfyUI, and what each may import of it.
HOSTS = {
    "host.py": {"comfy", "comfy_execution", "folder_paths", "latent_preview", "numpy", "PIL"},
    "host_model.py": {"comfy"},
    "host_routes.py": {"aiohttp"},
    "host_runs.py": {"comfy"},
}
FILES = sorted(path for part in ALLOWED for path in (ROOT / part).glob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """Level and dotted name of every import in a file, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_run_one_way(path: Path) -> None:
    part = path.parent.relative_to(ROOT).as_posix()
    parts, libraries = ALLOWED[part]
    pack = part.count("/") + 2  # dots of an import from the pack's root
    if part == "nodes":
        libraries = libraries | HOSTS.get(path.name, set())
    if part == "web/panel":
        libraries = libraries | GRADIO.get(path.name, set())
    for level, name in imports(path):
        top = name.split(".")[0]
        if level == 0:
            assert top in libraries or top in sys.stdlib_module_names, f"{path.name}: {name}"
            assert top not in ALLOWED, f"{path.name}: import {name} relatively"
        if level == pack:
            assert top in parts, f"{path.name}: {part} must not import {name}"
        if part == "solvers/methods" and level == 2:  # the mathematics, and not what runs it
            assert top in ("adams", "exponential", "grid", "solver"), f"{path.name}: {name}"
            continue
        assert level in (0, 1, pack)


def test_every_file_of_methods_is_in_the_registry() -> None:
    """A solver is a file and its line."""
    from dc_solver.solvers import registry

    files = {path.stem for path in (ROOT / "solvers" / "methods").glob("*.py")} - {"__init__"}
    assert set(registry._FAMILIES) == files and len(registry._FAMILIES) == len(files)


def test_importing_the_library_touches_no_host_and_no_heavy_module() -> None:
    script = f"""
import importlib.util, sys, threading
spec = importlib.util.spec_from_file_location("dc_solver", {str(ROOT / "__init__.py")!r},
    submodule_search_locations=[{str(ROOT)!r}])
pack = importlib.util.module_from_spec(spec); sys.modules["dc_solver"] = pack
before = list(sys.path)
spec.loader.exec_module(pack)
assert "torch" not in sys.modules and not hasattr(pack, "NODE_CLASS_MAPPINGS")
pack.solvers.sample, pack.ratios.calibrate
assert "matplotlib" not in sys.modules and "gradio" not in sys.modules
assert sys.path == before and threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_node_table_is_a_literal_that_the_registry_can_read() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    tables = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    table, names = tables["NODE_CLASS_MAPPINGS"], tables["NODE_DISPLAY_NAME_MAPPINGS"]
    assert isinstance(table, ast.Dict) and isinstance(names, ast.Dict)
    ids = [key.value for key in table.keys if isinstance(key, ast.Constant)]
    assert len(ids) == len(table.keys) == 10
    assert ids == [key.value for key in names.keys if isinstance(key, ast.Constant)]
    for name in ids:
        assert (ROOT / "web" / "comfy" / "docs" / f"{name}.md").is_file(), f"no help for {name}"


def test_the_pip_package_holds_every_part_and_the_same_requirements() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for part in ("solvers", "solvers.methods", "ratios", "demo", "web", "web.panel"):
        assert f'"dc_solver.{part}"' in project
    required = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(f'"{line}"' in project for line in required)
    version = re.search(r'__version__ = "(.+)"', (ROOT / "__init__.py").read_text())
    assert version and f'version = "{version[1]}"' in project
    records = (ROOT / "ratios" / "records.py").read_text()
    assert f'PACK_VERSION = "{version[1]}"' in records
