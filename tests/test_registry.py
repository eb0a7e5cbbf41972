"""Names are modules: listing, finding, and what is said about a name that is not one."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from molbt import registry
from molbt.errors import ConfigError
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import Objective


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of objectives in a folder, under the kind ``toys``."""
    folder = tmp_path / "toy_objectives"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "base.py").write_text("from molbt.objectives.base import Objective\n")
    (folder / "_private.py").write_text("raise RuntimeError\n")
    (folder / "unread.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._KINDS, "toys", ("toy_objectives", "Objective"))
    yield folder
    registry.find.cache_clear()
    for name in [name for name in sys.modules if name.startswith("toy_objectives")]:
        del sys.modules[name]


def test_find_returns_the_class_of_a_module():
    assert registry.find("objectives", "barlow_twins") is BarlowTwins


def test_available_lists_modules_without_importing_them(package):
    assert registry.available("toys") == ["unread"]


def test_available_does_not_load_torch():
    script = "import sys; from molbt.registry import available; available('objectives'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_find_names_the_closest_and_all_valid_names():
    with pytest.raises(ConfigError, match=r"unknown name 'barlow_twin' in objectives; did you mean 'barlow_twins'\? Valid: .*barlow_twins"):
        registry.find("objectives", "barlow_twin")
    with pytest.raises(
        ConfigError,
        match=r"unknown kind 'objective'; did you mean 'objectives'\? Valid: benchmarks, modalities, objectives, zero_shot_methods",
    ):
        registry.find("objective", "barlow_twins")


@pytest.mark.parametrize("name", ["base", "_private", "", "../errors"])
def test_find_refuses_what_is_not_a_public_module(package, name):
    with pytest.raises(ConfigError, match="unknown name"):
        registry.find("toys", name)


@pytest.mark.parametrize(("n_public", "is_refused"), [(0, True), (1, False), (2, True)])
def test_find_expects_one_public_class_of_the_kind(package, n_public, is_refused):
    lines = ["from toy_objectives.base import Objective", "class _Hidden(Objective): pass", "class Other: pass"]
    lines += [f"class Toy{k}(Objective): pass" for k in range(n_public)]
    (package / "toy.py").write_text("\n".join(lines))
    if is_refused:
        with pytest.raises(ConfigError, match=f"exactly one public subclass of Objective, found {n_public}"):
            registry.find("toys", "toy")
    else:
        assert registry.find("toys", "toy").__name__ == "Toy0"


def test_find_takes_entry_points_of_other_packages(package, monkeypatch):
    point = EntryPoint(name="theirs", value="molbt.objectives.base:Objective", group="molbt.toys")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "molbt.toys" else [])
    assert registry.available("toys") == ["theirs", "unread"]
    assert registry.find("toys", "theirs") is Objective
