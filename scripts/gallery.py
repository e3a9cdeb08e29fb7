"""The gallery of a batch: index.html in its output folder, a page that needs no other file than the pictures there."""

import contextlib
import csv
import html
import io
import json
import re
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageOps

from batch_jobs import by_number
from nst.images import write_file

PICTURES_BETWEEN = 10  # that are painted before the page is written again
THUMBNAILS = "thumbnails"
THUMBNAIL_SIZE = 480  # pixels of the long side: sharp on a phone, too
NOT_SHOWN = ("CONTENT_IMAGE", "STYLE_IMAGE", "OUTPUT_DIR", "RESUME", "INIT")  # named by themselves, or by no one

STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f4f4f2; --text: #1b1b1b; --faint: #5d5d5d; --bad: #a3201a }
@media (prefers-color-scheme: dark) {
  :root { --back: #161616; --card: #232322; --text: #ececec; --faint: #a8a8a8; --bad: #ff9b91 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1400px; padding: 1.5rem 1rem 3rem; background: var(--back); color: var(--text);
  font: 1rem/1.45 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem }
p { margin: .4rem 0 1.2rem; color: var(--faint) }
ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.2rem; margin: 0;
  padding: 0; list-style: none; align-items: start }
li { background: var(--card); border-radius: 6px; overflow: hidden; content-visibility: auto;
  contain-intrinsic-size: auto 22rem; overflow-wrap: anywhere }
img { display: block; width: 100%; height: auto }
div { padding: .6rem .8rem .8rem } strong { display: block; font-weight: 600 } a { color: inherit }
small { display: block; font-size: .85rem; color: var(--faint) } .failed strong { color: var(--bad) }
@media (max-width: 480px) { body { padding: 1rem .6rem 2rem } }
"""


class Gallery:
    """The page of all finished runs in a folder, and of what failed.

    Args:
        paintings: object with output, the pathlib.Path of the folder, and facts, a dict of pathlib.Path of each run's
            folder to its record.

    Attributes:
        path: pathlib.Path of the page.
    """

    def __init__(self, paintings):
        self._paintings, self.path = paintings, paintings.output / "index.html"
        self._cards = {}  # what does not change: thumbnail and costs of each folder

    def write(self, failures=()):
        """Write the page, and the thumbnails that are missing.

        Args:
            failures: list of (job, message), of jobs with a name.

        Raises:
            RunError: a file cannot be written.
        """
        facts = dict(sorted(self._paintings.facts.items(), key=lambda item: by_number(item[0].name)))
        different = differing_settings([record["settings"] for record in facts.values()])
        cards = [self._card(folder, record, different) for folder, record in facts.items()]
        failed = [
            f'<li class="failed"><div><strong>{html.escape(job.name)}</strong>{html.escape(message)}</div></li>'
            for job, message in failures
        ]
        count = f"{len(cards)} picture{'s' * (len(cards) != 1)}" + (f", {len(failed)} failed" if failed else "")
        parts = [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Gallery: {count}</title><style>{STYLE}</style></head><body>",
            f"<h1>Neural style transfer</h1><p>{count}. Each links to the whole picture and to its record.</p>",
            "<main><ul>",
            *cards,
            "</ul>",
            *(["<h2>Failed</h2><ul>", *failed, "</ul>"] if failed else []),
            "</main></body></html>\n",
        ]
        write_file(self.path, "\n".join(parts).encode())

    def _card(self, folder, record, different):
        """Return the HTML of a picture."""
        if folder not in self._cards:
            self._cards[folder] = self._thumbnail(folder), *_last_costs(folder)
        (width, height), seconds, costs = self._cards[folder]
        content, style = (_title(record["settings"][name]) for name in ("CONTENT_IMAGE", "STYLE_IMAGE"))
        settings = ", ".join(f"{name} {_text(record['settings'].get(name))}" for name in different)
        link, title = quote(folder.name), f"{html.escape(content)} in the manner of {html.escape(style)}"
        alt = f"{title}{', ' * bool(settings)}{html.escape(settings)}"
        names = [name for name in ("history.csv", "settings.json") if (folder / name).is_file()]
        links = " · ".join(f'<a href="{link}/{name}">{name}</a>' for name in names)
        return (
            f'<li><a href="{link}/generated_image.png"><img src="{THUMBNAILS}/{link}.jpg" alt="{alt}" loading="lazy" '
            f'decoding="async" width="{width}" height="{height}"></a><div><strong>{html.escape(content)}</strong>'
            f"{html.escape(style)}<small>{html.escape(settings)}</small><small>{costs} · {seconds}</small>"
            f"<small>{links}</small></div></li>"
        )

    def _thumbnail(self, folder):
        """Make the thumbnail of a picture if it is not there, and return its width and height."""
        path = self.path.parent / THUMBNAILS / f"{folder.name}.jpg"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            buffer = io.BytesIO()
            with Image.open(folder / "generated_image.png") as picture:
                ImageOps.contain(picture.convert("RGB"), (THUMBNAIL_SIZE, THUMBNAIL_SIZE)).save(
                    buffer, "JPEG", quality=85
                )
            write_file(path, buffer.getvalue())
        with Image.open(path) as thumbnail:
            return thumbnail.size


def differing_settings(all_settings):
    """Return the names of the settings in which some dicts of settings differ, in their order."""
    names = list(dict.fromkeys(name for settings in all_settings for name in settings if name not in NOT_SHOWN))
    texts = {name: {json.dumps(settings.get(name)) for settings in all_settings} for name in names}
    return [name for name in names if len(texts[name]) > 1]


def _last_costs(folder):
    """Return the seconds and the costs of a run as texts."""
    with contextlib.suppress(OSError, IndexError, KeyError, ValueError):
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            row = list(csv.DictReader(file))[-1]
        costs = " · ".join(f"{name} {float(row[name]):.3g}" for name in ("J", "J_content", "J_style"))
        return f"{float(row['seconds']):.0f} s", costs
    return "no times", "no costs"


def _title(value):
    """Return a picture's name, or those of several with their weights, for people."""
    if isinstance(value, str):
        return re.sub(r"[_\s]+", " ", Path(value).stem).strip() or value
    return " + ".join(f"{_title(path)} × {weight:g}" for path, weight in value)


def _text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)
