"""Google Drive: from a file's id to the answer that holds its bytes.

`gdown` does the same, but it names, keeps and resumes the file itself (no If-Range, cookies written
to the user's home) and brings requests, beautifulsoup4 and tqdm: it cannot serve `Transfer`.
"""

from http.client import HTTPResponse
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from urllib.request import OpenerDirector, Request

from episodes.download.faults import WORTH_ANOTHER_ATTEMPT, MirrorFailed
from episodes.download.pages import Page, is_page, page_in

SCHEME = "gdrive:"
ADDRESS = "https://drive.usercontent.google.com/download"
# The words by which pages are known are English.
IN_ENGLISH = {"Accept-Language": "en"}


def page_of(url: str) -> str:
    """The page of a `gdrive:` URL to open in a browser."""
    return f"https://drive.google.com/file/d/{url.removeprefix(SCHEME)}/view"


def ask(
    url: str,
    headers: dict[str, str],
    opener: OpenerDirector,
    cookies: CookieJar,
    timeout: float,
) -> HTTPResponse:
    """The answer that holds the file of a `gdrive:` URL, past the page that asks for confirmation.

    `opener` keeps its cookies in `cookies`. Raises MirrorFailed that names what Drive says in the
    file's place, and what `urllib` raises.
    """

    def asked(address: str) -> HTTPResponse | Page:
        request = Request(address, headers={**headers, **IN_ENGLISH})
        try:
            answer = opener.open(request, timeout=timeout)
        except HTTPError as error:
            if error.code in WORTH_ANOTHER_ATTEMPT or not is_page(error.headers):
                raise
            with error:
                raise MirrorFailed(_refusal(page_in(error), url, error.code)) from None
        if not is_page(answer.headers):
            return answer
        with answer:
            page = page_in(answer)
            if urlsplit(answer.url).hostname == "accounts.google.com":
                raise MirrorFailed(_refusal(page, url, 401))
            page.action = urljoin(answer.url, page.action) if page.action else ""
            return page

    first = f"{ADDRESS}?{urlencode({'id': url.removeprefix(SCHEME), 'export': 'download'})}"
    answer = asked(first)
    if isinstance(answer, Page) and (confirmed := _confirmed(first, answer, cookies)):
        answer = asked(confirmed)
    if isinstance(answer, Page):
        raise MirrorFailed(_refusal(answer, url))
    return answer


def _confirmed(first: str, page: Page, cookies: CookieJar) -> str | None:
    """The address behind "Download anyway": in the page's form, formerly made with a cookie."""
    if page.action:
        address = urlsplit(page.action)
        fields = dict(parse_qsl(address.query)) | page.fields
        return address._replace(query=urlencode(fields)).geturl()
    for cookie in cookies:
        if cookie.name.startswith("download_warning"):
            return f"{first}&{urlencode({'confirm': cookie.value or ''})}"
    return None


def _refusal(page: Page, url: str, status: int = 200) -> str:
    said = f"{page.title} {page.text}".lower()
    if "quota" in said or "too many users" in said:
        return (
            "Google Drive's quota for this file is spent: try again in a day, or open "
            f"{page_of(url)} where you are signed in"
        )
    if status == 404 or "not found" in said or "does not exist" in said:
        return "Google Drive has no such file any more (deleted, or its link withdrawn)"
    if status in (401, 403) or "sign in" in page.title.lower() or "need access" in said:
        return "Google Drive asks to sign in: the file is not shared with everyone"
    return f"Google Drive {page.told()}"
