"""The page of experiments says what the recipes and the benchmarks say."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import pytest
from commandline import REPOSITORY

# It has learnt nothing to show before a quarter of an hour on a machine of its own.
NOT_YET = {"morse"}


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_gallery", REPOSITORY / "scripts" / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(gallery: ModuleType) -> None:
    written = gallery.PAGE.read_text(encoding="utf-8")
    assert written == gallery.page(), "run python scripts/make_gallery.py"


def test_every_recipe_has_a_section_and_every_number_its_row(gallery: ModuleType) -> None:
    page = gallery.page()
    names = {path.stem for path in (REPOSITORY / "configs" / "experiment").glob("*.yaml")}
    assert set(re.findall("^### (.+)$", page, re.MULTILINE)) == names
    assert set(gallery.results()) <= names


def test_pictures_that_are_named_are_there_and_small(gallery: ModuleType) -> None:
    named = re.findall(r"\]\(([^)#]+\.png)\)", gallery.page())
    assert named
    sizes = [(REPOSITORY / "docs" / name).stat().st_size for name in named]
    assert max(sizes) < 300_000
    assert all(path.stat().st_size <= gallery.MOST_BYTES for path in gallery.PICTURES.glob("*.png"))


def test_every_recipe_has_a_picture_told_in_words_or_a_sample(gallery: ModuleType) -> None:
    for recipe in gallery.recipes():
        if recipe.name in NOT_YET:
            continue
        seen = "\n".join(gallery._seen(recipe.name))
        assert re.search(r"!\[.{30,}\]\(\S+\.png\)\n\n\*.{30,}\*", seen) or "What it writes" in seen, recipe.name


def test_a_picture_of_a_shorter_run_says_so(gallery: ModuleType) -> None:
    for name, told in json.loads(gallery.TOLD.read_text(encoding="utf-8")).items():
        seen = "\n".join(gallery._seen(name))
        assert all(word in seen for word in told["changed"]), name
        assert f"{told['steps']:,} steps" in seen
