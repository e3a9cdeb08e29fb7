"""The gallery of a batch: index.html in its output folder, a page that needs no other file than the pictures there."""

import contextlib
import csv
import functools
import hashlib
import json
import os
import time
from collections import Counter
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from batch.jobs import by_number
from batch.records import PICTURE, described_files, sha256_of
from nst.files import write_file
from nst.images import load_image, to_uint8
from nst.settings import from_record, style_pictures
from nst.table import SETTINGS, STARTS

PAGE = Path(__file__).with_name("page.html")
THUMBNAIL_SIZE, SOURCE_SIZE = 480, 320  # pixels of the long side: sharp on a phone, too
NOT_SHOWN = ("CONTENT_IMAGE", "STYLE_IMAGE", "OUTPUT_DIR", "RESUME")  # named by themselves, or by no one
TIMES_AS_LONG = 20  # as the last writing took pass before the page is written again


class _Painting(NamedTuple):
    """What the page says of a run: path of the photo, (path, weight) of styles, other settings as texts, and HTML."""

    photo: str
    styles: tuple
    texts: dict
    cell: str  # with {alt} for the alternative text


class Gallery:
    """The page, at path, of all finished runs among some Paintings and of what failed; clock returns seconds."""

    def __init__(self, paintings, clock=time.monotonic):
        self._paintings, self.path = paintings, paintings.output / "index.html"
        self._known, self._sources = {}, {}  # by folder: its record and _Painting; by path: HTML of the thumbnail
        self._clock, self._due = clock, clock()

    def write(self, failures=(), sparingly=False):
        """Make the thumbnails that are missing, and write the page: sparingly, so that little of the time goes into it.

        failures is a list of (Job, message). RunError: the page cannot be written.
        """
        for folder, record in self._paintings.facts.items():
            if folder not in self._known or self._known[folder][0] is not record:
                self._known[folder] = record, self._painting(folder, record)
        began = self._clock()
        if began >= self._due or not sparingly:
            self._write({folder: self._known[folder][1] for folder in self._paintings.facts}, failures)
            self._due = self._clock() + TIMES_AS_LONG * (self._clock() - began)

    def _write(self, paintings, failures):
        different = differing_settings([painting.texts for painting in paintings.values()])
        names = _short_names({path for p in paintings.values() for path in (p.photo, *(path for path, _ in p.styles))})
        columns, cells = {}, {}
        for painting in paintings.values():
            styles, texts = painting.styles, [painting.texts[name] for name in different]
            style = " + ".join(names[path] + f" × {weight:g}" * (len(styles) > 1) for path, weight in styles)
            short = [text if len(text) <= 60 else f"{text[:59]}…" for text in texts]
            values = ", ".join(f"{name} {text}" for name, text in zip(different, short, strict=True))
            column = styles, tuple(texts)
            columns[column] = style, values
            alt = f"{names[painting.photo]} in the manner of {style}{', ' * bool(values)}{values}"
            cells.setdefault((painting.photo, column), []).append(painting.cell.replace("{alt}", escape(alt)))
        columns = dict(sorted(columns.items(), key=lambda item: [by_number(text) for text in item[1]]))
        heads = [
            f'<th scope="col"><div>{"".join(self._sources[path] for path, _ in styles)}</div>{escape(style)}'
            f'<small>{escape(values)}</small><button aria-pressed="false">by cost</button></th>'
            for (styles, _), (style, values) in columns.items()
        ]
        rows = []
        for photo in sorted({p.photo for p in paintings.values()}, key=lambda path: (by_number(names[path]), path)):
            row = "".join(f"<td>{''.join(cells.get((photo, column), []))}</td>" for column in columns)
            rows.append(f'<tr><th scope="row">{self._sources[photo]}{escape(names[photo])}</th>{row}</tr>')
        failed = [f"<li><b>{escape(job.name)}</b> {escape(message)}</li>" for job, message in failures]
        count = f"{len(paintings)} picture{'s' * (len(paintings) != 1)}" + f", {len(failed)} failed" * bool(failed)
        failed = ["<h2>Failed</h2>", "<ul>", *failed, "</ul>"] if failed else []
        parts = {"count": [count], "columns": [str(len(columns))], "heads": heads, "rows": rows, "failed": failed}
        page = PAGE.read_text(encoding="utf-8")
        for name, part in parts.items():
            page = page.replace(f"<!-- {name} -->", "\n".join(part))
        write_file(self.path, page.encode("utf-8", "replace"))

    def _painting(self, folder, record):
        settings, sha256 = from_record(record["settings"]), described_files(record)
        styles = tuple((path, weight) for path, weight in style_pictures(settings.STYLE_IMAGE) if weight)
        for path in (settings.CONTENT_IMAGE, *(path for path, _ in styles)):
            if path not in self._sources:
                self._sources[path] = self._source(path, sha256.get(path))
        shown = {name: getattr(settings, name) for name in SETTINGS if name not in NOT_SHOWN}
        texts = _texts(json.dumps(shown | {"lesson": (record.get("lesson") or {}).get("notebook")}))
        image = self._thumbnail(folder.name, folder / PICTURE, THUMBNAIL_SIZE, dated=True)
        cell = f"<p>{escape(folder.name)}: its picture cannot be read. Remove the folder, and start again.</p>"
        if image:
            costs, seconds = _last_epoch(folder)
            cost = "".join(f' data-cost="{value:.6g}"' for value in list(costs.values())[:1])
            cell = f'<a href="{quote(os.fsencode(folder.name))}/{PICTURE}"{cost}>{image}</a><small>'
            cell += (
                escape(" · ".join([*(f"{name} {value:.3g}" for name, value in costs.items()), seconds])) + "</small>"
            )
        return _Painting(settings.CONTENT_IMAGE, styles, texts, cell)

    def _source(self, path, sha256):
        """Return the HTML of the thumbnail of a photo or painting, or "" if it is not what was painted from."""
        with contextlib.suppress(OSError, ValueError):
            if sha256_of(path) == sha256:
                return self._thumbnail(sha256, path, SOURCE_SIZE).replace("{alt}", "")
        return ""

    def _thumbnail(self, key, picture, size, dated=False):
        """Return the HTML of a thumbnail, with {alt} for its alternative text; "" if the picture cannot be read.

        Its file is named after key. If it is dated it gets the picture's time, and is made anew when that is another.
        """
        name = f"thumbnails/{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}.jpg"
        path = self.path.parent / name
        with contextlib.suppress(Exception):  # decoders of damaged files raise almost anything
            time_ns = os.stat(picture).st_mtime_ns if dated else None
            if not path.is_file() or time_ns not in (None, path.stat().st_mtime_ns):
                path.parent.mkdir(exist_ok=True)
                small = Image.fromarray(to_uint8(load_image(picture, size, enlarge=False)))
                write_file(path, lambda file: small.save(file, "JPEG", quality=85))
                if dated:
                    os.utime(path, ns=(time_ns, time_ns))
            with Image.open(path) as thumbnail:
                width, height = thumbnail.size
            return f'<img src="{name}" alt="{{alt}}" loading="lazy" decoding="async" width="{width}" height="{height}">'
        return ""


@functools.lru_cache(maxsize=1000)
def _texts(settings):
    """Return a dict of settings, given as JSON, as texts; pictures of the same settings share it."""
    return {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in json.loads(settings).items()}


def differing_settings(all_texts):
    """Return the names of the settings in which some dicts of settings as texts differ, in their order."""
    distinct = list({id(texts): texts for texts in all_texts}.values())
    values = {name: {texts[name] for texts in distinct} for name in (distinct[0] if distinct else ())}
    if not values.get("INIT", set()) <= set(STARTS):  # each picture of a chain has another one
        del values["INIT"]
    return [name for name, texts in values.items() if len(texts) > 1]


def _short_names(paths):
    """Return a dict of paths to the names of their files as they are, without suffix where that is clear enough."""
    stems = Counter(Path(path).stem for path in paths)
    return {path: Path(path).stem if stems[Path(path).stem] == 1 else path for path in paths}


def _last_epoch(folder):
    """Return a dict of the costs after the last epoch of a run, and the seconds that it took as a text."""
    with contextlib.suppress(OSError, IndexError, KeyError, ValueError):
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            row = {name: float(text) for name, text in list(csv.DictReader(file))[-1].items() if name != "epoch"}
        return {name: cost for name, cost in row.items() if name != "seconds"}, f"{row['seconds']:.0f} s"
    return {}, "no costs"
