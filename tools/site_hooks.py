"""What the pages of docs/, written for a git host, need to be a site.

Formulas become MathML, so that no script is needed to read them. Links out of docs/ become the path
that they lead to. Notebooks lose the scripts that nbconvert would have them fetch.
"""

import html
import posixpath
import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

CODE_OR_LINK = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)$"
    r"|(?P<ticks>`+).+?(?P=ticks)"
    r"|(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^()\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
NOTEBOOK_LINK = re.compile(r'href="(?P<target>[^":#]+\.(?:md|ipynb))(?=["#])')
BARE_BAR = re.compile(r"<mo>(&#x0007C;|&#x02016;)</mo>")
UNREAD = re.compile(r"<m\w+>([^<]*\\[^<]*|[&{}])</m\w+>|<mspace linebreak=")
NOTEBOOK_SCRIPT = re.compile(
    r'<script\b(?:(?!</script>).)*?(?:src=""|cdnjs|x-mathjax).*?</script>', re.DOTALL
)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return without_links_out(markdown, page.file.src_uri)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    try:
        if page.file.src_uri.endswith(".ipynb"):
            return for_site(content, page.file.src_uri, {file.src_uri for file in files})
        return with_mathml(content)
    except ValueError as error:
        raise PluginError(f"docs/{page.file.src_uri}: {error}") from error


def without_links_out(markdown: str, page: str) -> str:
    """The text of the page `page` of docs/, whose links out of docs/ are the paths they lead to.

    README.md's part is taken by the site's first page. Code is left as it is.
    """

    def mended(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        if target is None or re.match(r"[a-z]+:|#", target):
            return match[0]
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
        if path.startswith("docs/"):
            return match[0]
        if path == "README.md":
            return f"[{text}]({posixpath.relpath('index.md', posixpath.dirname(page) or '.')})"
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return CODE_OR_LINK.sub(mended, markdown)


def for_site(content: str, notebook: str, pages: set[str]) -> str:
    """A notebook's HTML that fetches no script and links to the site's pages.

    Raises ValueError for a link to what is not among `pages`, the paths below docs/.
    """

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(notebook), match["target"]))
        if target not in pages:
            raise ValueError(f"links to {match['target']}, which is no page of the site")
        return f'href="{posixpath.splitext(match["target"])[0]}.html'

    return NOTEBOOK_LINK.sub(led, NOTEBOOK_SCRIPT.sub("", content))


def with_mathml(content: str) -> str:
    """The HTML with the formulas that pymdownx.arithmatex has marked as MathML.

    Raises ValueError, with the formula, where one cannot be converted whole.
    """

    def converted(match: re.Match[str]) -> str:
        latex = html.unescape(match["latex"]).strip()
        return mathml(latex, display="block" if match["tag"] == "div" else "inline")

    return FORMULA.sub(converted, content)


def mathml(latex: str, display: str) -> str:
    """A formula as MathML; raises ValueError for what latex2mathml does not know or leaves over."""
    try:
        # \arg is standard LaTeX that latex2mathml lacks.
        converted = convert(re.sub(r"\\arg\b", r"\\operatorname{arg}", latex), display=display)
    except Exception as error:  # the library's errors have no base class
        raise ValueError(f"cannot read the formula {latex!r}: {type(error).__name__}") from error
    bare = re.sub(r"\\[\\{}]", "", latex)
    if bare.count("{") != bare.count("}"):
        raise ValueError(f"the braces of the formula {latex!r} do not match")
    if unread := UNREAD.search(converted):
        what = unread[1] or r"\\ outside of an environment"
        raise ValueError(f"cannot read {what} in the formula {latex!r}")
    # As in TeX, a bar grows with what it encloses after \left and \right alone.
    return BARE_BAR.sub(r'<mo stretchy="false">\1</mo>', converted)
