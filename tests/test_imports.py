"""What importing costs, and that imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import molbt

PACKAGE = Path(molbt.__file__).parent
HEAVY = ["torch", "rdkit", "sklearn", "pandas", "numpy", "transformers", "torch_geometric", "lightgbm", "matplotlib", "pydantic"]

# Each layer may import itself and the layers before it.
LAYERS = [
    ["molbt", "errors", "registry", "config", "config_sections", "config_text", "draws"],
    ["data", "nn"],
    ["modalities", "objectives"],
    ["model"],
    ["training"],
    ["text_adaptation"],
    ["featurizer"],
    ["pair_featurizer"],
    ["predict"],
    ["evaluation"],
    ["report"],
    ["describe", "demo", "cli", "__main__"],
]
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}
NOTHING_OF = {"objectives": ["modalities"], "modalities": ["objectives"]}
# A configuration builds what it names when it is asked to; importing it must not load RDKit.
BY_DESIGN = {"config_sections.py imports molbt.data.molecules"}


def fresh(script: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def part_of(module: str) -> str:
    """``molbt.data.corpus`` belongs to ``data``; ``molbt`` itself to ``molbt``."""
    return [*module.split("."), ""][1] or "molbt"


def imports_of(source: str) -> list[str]:
    """The modules of this package that a file imports, those imported only for types left out, those inside functions included."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            inside = node.module == "molbt"
            found += [f"molbt.{alias.name}" if inside and alias.name != "__version__" else node.module for alias in node.names]
    return [name for name in found if name and (name == "molbt" or name.startswith("molbt."))]


def test_importing_molbt_loads_nothing_heavy():
    result = fresh(f"import sys, molbt; print([name for name in {HEAVY} if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("name", sorted(molbt.__all__))
def test_every_public_name_is_there(name):
    assert getattr(molbt, name) is not None
    assert name in dir(molbt)


def test_public_names_are_those_that_type_checkers_see():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(molbt.__all__) - {"__version__"}
    assert seen == set(molbt._MODULE_OF)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'molbt' has no attribute 'Featurizer'"):
        _ = molbt.Featurizer


def test_every_part_has_a_layer():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert parts <= set(LAYER_OF), "give the new part a place in LAYERS"


def test_imports_point_one_way():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = part_of(".".join(["molbt", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"))
        for module in imports_of(path.read_text(encoding="utf-8")):
            part = part_of(module)
            if LAYER_OF[part] > LAYER_OF[own] or part in NOTHING_OF.get(own, []) or (part == "cli" and own not in ("cli", "__main__")):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert set(wrong) == BY_DESIGN


def test_the_check_sees_imports_of_every_form():
    source = "import molbt.cli.main\nfrom molbt import describe, __version__\nif TYPE_CHECKING:\n    from molbt.nn import mlp\n"
    source += "def f():\n    from molbt.training.trainer import pretrain\nimport numpy\n"
    assert sorted(imports_of(source)) == ["molbt", "molbt.cli.main", "molbt.describe", "molbt.training.trainer"]


def test_importing_a_module_only_defines_names():
    """Every module can be imported, in one process, without output and without changing random states or threads."""
    modules = [
        ".".join(["molbt", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__main__.py"
    ]
    script = f"""
import importlib, numpy, torch
before = numpy.random.get_state()[1].tobytes(), torch.get_rng_state().tolist(), torch.get_num_threads()
for name in {modules}:
    importlib.import_module(name)
after = numpy.random.get_state()[1].tobytes(), torch.get_rng_state().tolist(), torch.get_num_threads()
assert before == after
"""
    result = fresh(script)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
