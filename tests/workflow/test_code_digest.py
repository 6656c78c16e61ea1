"""The digest that makes Snakemake rerun what is built on an edited module."""

import pytest

import code_digest


@pytest.mark.parametrize(
    ("script", "inside", "outside"),
    [
        ("image_centroids.py", {"maskmill/methods/mars.py", "stage.py"}, {"maskmill/methods/irn.py"}),
        ("train_student.py", {"maskmill/networks/deeplab.py"}, {"maskmill/methods/mars.py"}),
        ("train_mars_student.py", {"maskmill/methods/mars.py", "maskmill/refinement/pamr.py"}, set()),
        ("random_walk.py", {"maskmill/refinement/paths.py"}, {"maskmill/methods/mars.py", "maskmill/training/loop.py"}),
    ],
)
def test_closure_holds_what_is_imported_directly_or_not_and_nothing_else(script, inside, outside):
    modules = code_digest.modules_of(script)
    assert script in modules and inside <= modules and not outside & modules


def test_digest_changes_with_a_module_deep_in_the_closure(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "script.py").write_text("from package import first\n")
    (tmp_path / "package/first.py").write_text("def f():\n    import package.second\n")
    (tmp_path / "package/second.py").write_text("x = 1\n")
    (tmp_path / "package/other.py").write_text("x = 1\n")
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)

    def digest():
        code_digest._imports.cache_clear()
        return code_digest.code_digest("script.py")

    first = digest()
    (tmp_path / "package/other.py").write_text("x = 2\n")
    assert digest() == first
    (tmp_path / "package/second.py").write_text("x = 2\n")
    assert digest() != first


@pytest.mark.parametrize(
    "script",
    [
        "evaluate.py",
        "evaluate_seeds.py",
        "merge_maps.py",
        "import_masks.py",
        "crf_predictions.py",
        "segment.py",
        "list_store.py",
        "show_stages.py",
        "compare_labels.py",
        "class_presence.py",
        "incremental_steps.py",
        "forgetting.py",
    ],
)
def test_stages_without_networks_and_methods_do_not_import_torch(script):
    """By the text of their closures; Snakemake jobs of these stages start a second faster for it."""
    for module in code_digest.modules_of(script):
        assert "import torch" not in (code_digest.ROOT / module).read_text(), module
