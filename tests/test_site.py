"""The site builds without a warning, fetches nothing, and shows every page and public name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from readme_block import README
from site_hooks import for_site, mathml, with_mathml, without_links_out

import episodes
import trainers

ROOT = README.parent
DOCS = ROOT / "docs"
MATH = '<math xmlns="http://www.w3.org/1998/Math/MathML"'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    said = build.stdout + build.stderr
    assert build.returncode == 0, said
    assert "WARNING" not in said
    return folder


def pages(site: Path) -> dict[str, str]:
    return {
        str(path.relative_to(site)): path.read_text(encoding="utf-8")
        for path in site.rglob("*.html")
    }


def test_every_page_of_docs_is_in_the_navigation_and_built(site: Path) -> None:
    named = re.findall(r"([\w/.-]+\.(?:md|ipynb))$", (ROOT / "mkdocs.yml").read_text(), re.M)
    found = [
        path.relative_to(DOCS) for suffix in ("md", "ipynb") for path in DOCS.rglob(f"*.{suffix}")
    ]
    assert sorted(named) == sorted(map(str, found))
    assert {str(page.with_suffix(".html")) for page in found} <= set(pages(site))


def test_the_page_of_results_lists_them_all() -> None:
    folder = DOCS / "results"
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", (folder / "index.md").read_text()))
    pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    assert listed == pages - {"index.md"}


def test_pages_fetch_nothing_from_a_network(site: Path) -> None:
    fetching = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"(?:https?:)?//")
    for page, text in pages(site).items():
        assert not fetching.search(text), page
        assert "cdnjs" not in text, page


def test_links_and_pictures_lead_to_files_of_the_site(site: Path) -> None:
    for page, text in pages(site).items():
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if not re.match(r"[a-z]+:|/", target):
                assert (site / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_no_markdown_is_left_in_the_paragraphs(site: Path) -> None:
    """What git hosts take for a list, a table, code or a formula is one here too."""
    left = re.compile(r"^(?:[-*] |\d+\. |\|)|```|\\\(|\$\$|\]\(", re.M)
    for page, text in pages(site).items():
        for paragraph in re.findall(r"<p>(.*?)</p>", text, re.S):
            words = re.sub(r"<code>.*?</code>", "", paragraph, flags=re.S)
            assert not left.search(words), f"{page}: {paragraph}"


@pytest.mark.parametrize("package", [episodes, trainers], ids=lambda package: package.__name__)
def test_reference_has_every_public_name(package, site: Path) -> None:
    text = (site / "reference" / f"{package.__name__}.html").read_text(encoding="utf-8")
    for name in package.__all__:
        home = f"{package.__name__}.{name}"
        assert re.search(rf'id="{re.escape(home)}(?:\.{name})?"', text), home


def test_links_out_of_docs_become_paths() -> None:
    page = (
        "See [the tables](../../trainers/tables), [`tools/x.py`](../../tools/x.py) and [b](b.md#c)."
    )
    assert without_links_out(page, "results/a.md") == (
        "See the tables (`trainers/tables`), `tools/x.py` and [b](b.md#c)."
    )


def test_links_to_readme_become_links_to_the_first_page() -> None:
    assert without_links_out("[home](../README.md)", "a.md") == "[home](index.md)"
    assert without_links_out("[home](../../README.md)", "results/a.md") == "[home](../index.md)"


@pytest.mark.parametrize(
    "kept",
    [
        "`[a](../x)`",
        "```text\n[a](../x)\n```",
        "[a](https://example.org/../x)",
        "[a](#b)",
        "![picture](pictures/a.png)",
    ],
)
def test_code_addresses_and_pictures_are_left_alone(kept: str) -> None:
    assert without_links_out(kept, "a.md") == kept


def test_notebooks_link_to_pages_and_fetch_no_script() -> None:
    content = (
        '<script src="https://cdnjs.example/m.js"></script><script src=""> </script>'
        '<script>copy()</script><a href="../a.md#b">a</a><a href="c.ipynb">c</a>'
        '<a href="https://example.org/a.md">e</a>'
    )
    assert for_site(content, "notebooks/n.ipynb", {"a.md", "notebooks/c.ipynb"}) == (
        '<script>copy()</script><a href="../a.html#b">a</a><a href="c.html">c</a>'
        '<a href="https://example.org/a.md">e</a>'
    )
    with pytest.raises(ValueError, match="links to c.ipynb, which is no page"):
        for_site(content, "notebooks/n.ipynb", {"a.md"})


def test_marked_formulas_become_mathml() -> None:
    content = (
        '<p><span class="arithmatex">\\(a &lt; b\\)</span></p>'
        '<div class="arithmatex">\\[\nx^2\n\\]</div><code>$x$</code>'
    )
    assert with_mathml(content) == (
        f'<p>{MATH} display="inline"><mrow><mi>a</mi><mo>&#x0003C;</mo><mi>b</mi></mrow></math></p>'
        f'{MATH} display="block"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
        "<code>$x$</code>"
    )


def test_bars_grow_after_left_and_right_alone() -> None:
    assert mathml(r"\lVert x \rVert", "inline").count('<mo stretchy="false">&#x02016;</mo>') == 2
    assert mathml(r"\left| x \right|", "inline").count('stretchy="true"') == 2


def test_arg_min_is_read() -> None:
    assert "<mo>arg</mo>" in mathml(r"\arg\min_x f(x)", "block")


@pytest.mark.parametrize(
    ("latex", "found"),
    [
        (r"\unknown x", r"cannot read \\unknown"),
        (r"\frac{a", "braces"),
        (r"\left( a", "ExtraLeftOrMissingRight"),
        (r"a & b", "cannot read &"),
        (r"a \\ b", "outside of an environment"),
        (r"\text{a\_b}", r"cannot read a\\_b"),
    ],
)
def test_a_formula_that_cannot_be_read_whole_is_an_error(latex: str, found: str) -> None:
    with pytest.raises(ValueError, match=found) as raised:
        mathml(latex, "inline")
    assert repr(latex) in str(raised.value)


def test_an_unreadable_formula_stops_the_build_with_its_page(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\nHere $\\unknown$ stands.\n")
    (tmp_path / "mkdocs.yml").write_text(
        "site_name: s\n"
        f"hooks: [{ROOT / 'tools' / 'site_hooks.py'}]\n"
        "markdown_extensions: [pymdownx.arithmatex: {generic: true}]\n"
    )
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"], cwd=tmp_path, capture_output=True, text=True
    )
    assert build.returncode != 0
    assert "docs/index.md: cannot read \\unknown in the formula" in build.stderr
