"""The page itself: its head, its style, and its parts."""

from trainers.html_report.elements import Html, element, joined

STYLE = """
:root { --ink: #1f2933; --dim: #64707d; --line: #dfe3e8; --soft: #f6f7f9; --accent: #2f5d8c; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 10px; padding-top: 14px;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 22px 0 6px; overflow-wrap: anywhere; }
p { margin: 6px 0 10px; max-width: 76ch; overflow-wrap: anywhere; }
a { color: var(--accent); }
.note, figcaption, caption { color: var(--dim); font-size: .875rem; }
.headline { font-size: 2.4rem; font-weight: 650; margin: 14px 0 0; line-height: 1.15; }
.warning { background: #fff4e0; border-left: 4px solid #d98b1f; padding: 8px 12px;
  max-width: none; }
figure { margin: 10px 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { margin-top: 4px; }
.wide { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 4px 0; }
.pair { display: flex; flex-wrap: wrap; gap: 0 40px; align-items: flex-start; }
.pair > * { max-width: 100%; }
.wide th, .wide td { white-space: nowrap; }
.prose { white-space: normal; min-width: 16rem; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: middle; }
thead th { color: var(--dim); font-weight: 600; }
tbody th { font-weight: 500; }
tr.usual th, tr.usual td { color: #8a94a0; font-weight: 400; }
.groups { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr));
  gap: 4px 32px; align-items: start; }
.groups table { width: 100%; }
.groups td { overflow-wrap: anywhere; text-align: right; padding-right: 0; }
dl { margin: 8px 0; font-size: .9rem; }
dl div { display: grid; grid-template-columns: 11rem 1fr; gap: 12px; padding: 4px 0;
  border-bottom: 1px solid var(--line); }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 4px;
  padding: 10px 12px; margin: 8px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--accent); }
.bar { display: inline-block; height: .8em; background: #4c78a8; border-radius: 2px; }
.track { display: inline-block; width: 130px; background: #edf0f3; border-radius: 2px;
  line-height: 0; }
.matrix td { text-align: center; padding: 3px 4px; min-width: 34px; border: 1px solid #fff; }
.matrix thead th { text-align: center; padding: 3px 4px; }
.matrix tbody th { font-size: .8rem; padding-right: 8px; }
.episode { border: 1px solid var(--line); border-radius: 6px; padding: 8px 14px 12px;
  margin: 12px 0; }
.class { display: flex; flex-wrap: wrap; gap: 6px 10px; padding: 8px 0;
  border-top: 1px solid var(--line); }
.class > p { flex: 0 0 190px; margin: 0; font-size: .875rem; }
.images { display: flex; flex-wrap: wrap; gap: 6px; align-content: flex-start; }
.support { flex: 0 1 auto; max-width: 200px; }
.query { flex: 1 1 300px; }
.images figure { margin: 0; width: 62px; font-size: .7rem; line-height: 1.2; }
.images img { width: 62px; height: 62px; border: 3px solid #9aa5b1; object-fit: contain; }
.images .small { image-rendering: pixelated; }
.images figcaption { font-size: .7rem; overflow-wrap: anywhere; }
.images .right img { border-color: #2f8f3a; }
.images .wrong img { border-color: #c62828; }
.images .wrong figcaption { color: #a31f1f; }
@media (max-width: 640px) {
  main { padding: 14px 14px 48px; }
  .headline { font-size: 1.8rem; }
  dl div { grid-template-columns: 1fr; gap: 0; }
  .class > p { flex-basis: 100%; }
  .track { width: 80px; }
}
@media print { h2 { break-after: avoid; } .episode, figure, tr { break-inside: avoid; } }
"""


def page(title: str, *parts: str) -> Html:
    """The whole HTML text; it loads nothing, and needs no script."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    body = element("body", element("main", element("h1", title), *parts))
    return joined((Html("<!DOCTYPE html>\n"), element("html", head, body, lang="en"), Html("\n")))
