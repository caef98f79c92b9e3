"""What a million images cost."""

import yaml

from operations.cost import FIGURES, of_an_image, table
from tests.docs.test_documentation import ROOT

DATA = yaml.safe_load(FIGURES.read_text())


def test_the_page_shows_what_the_figures_give() -> None:
    assert table(DATA) in (ROOT / "docs" / "cost.md").read_text()


def test_the_page_compares_with_what_others_ask() -> None:
    page = (ROOT / "docs" / "cost.md").read_text()
    for name, entry in DATA["elsewhere"].items():
        assert f"| {name} | {entry['dollars_per_million']:,} |" in page


def test_every_price_has_its_source() -> None:
    for entry in (*DATA["prices"].values(), *DATA["elsewhere"].values()):
        assert entry["source"].startswith("https://")


def test_memory_is_that_of_the_functions() -> None:
    config = yaml.safe_load((ROOT / ".chalice" / "config.json").read_text())
    functions = config["stages"]["prod"]["lambda_functions"]
    for name, memory in DATA["per_image"]["memory_mb"].items():
        function = functions["api_handler" if name == "api" else name]
        assert function["lambda_memory_size"] == memory, name


def test_dearer_memory_costs_its_function_alone() -> None:
    photo = DATA["photos"]["12 MP"]
    dearer = {**DATA, "prices": {**DATA["prices"], "lambda_gb_second": {"dollars": 0.01}}}
    before, after = of_an_image(DATA, photo), of_an_image(dearer, photo)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.startswith("Lambda")}
