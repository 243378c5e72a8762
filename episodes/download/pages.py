"""Web pages that come in a file's place: what they say, and the form that leads on."""

from contextlib import suppress
from email.message import Message
from html.parser import HTMLParser
from http.client import HTTPResponse
from urllib.error import HTTPError

from episodes.download.faults import one_line

MOST_PAGE_BYTES = 1 << 20
CONTENT_TYPES = ("text/html", "application/xhtml+xml")


class Page(HTMLParser):
    """A page's title, its text, and the action and hidden fields of its form `download-form`."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.title, self.text, self.action = "", "", ""
        self.fields: dict[str, str] = {}
        self._inside = ""
        self._in_form = False
        # What the parser makes nothing of ("<![x[") is an AssertionError.
        with suppress(AssertionError):
            self.feed(source)
            self.close()

    def told(self) -> str:
        """What came, in a few words."""
        if self.title.strip():
            return f"sent a web page ({one_line(self.title, 80)!r}), not the file"
        return "sent a web page, not the file (a login, quota or error page?)"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == "download-form":
            self._in_form, self.action = True, values.get("action", "")
        elif tag == "input" and self._in_form and values.get("type") == "hidden":
            self.fields[values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag == "form":
            self._in_form = False

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
        elif self._inside not in ("script", "style"):
            self.text += data


def is_page(headers: Message) -> bool:
    """Whether an answer's headers announce a web page."""
    return headers.get_content_type() in CONTENT_TYPES


def looks_like_a_page(start: bytes) -> bool:
    """Whether a file that begins with `start` is a web page, whatever it is called."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def page_in(answer: HTTPResponse | HTTPError) -> Page:
    """The page that an answer holds."""
    return Page(answer.read(MOST_PAGE_BYTES).decode("utf-8", "replace"))
