"""The gallery of a batch: index.html in its output folder, a page that needs no other file than the pictures there."""

import contextlib
import csv
import functools
import hashlib
import itertools
import json
import os
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

from jinja2 import Template
from PIL import Image

from batch.jobs import DECIMAL, by_number
from batch.records import PICTURE, described_files, sha256_of
from nst.files import write_file
from nst.images import load_image, to_uint8
from nst.lesson import FIRST, SECOND
from nst.settings import from_record, has_gram_matrices, styles_that_count
from nst.table import SETTINGS

PAGE = Path(__file__).with_name("page.html")
THUMBNAIL_SIZE, SOURCE_SIZE = 480, 320  # pixels of the long side: sharp on a phone, too
NOT_SHOWN = ("CONTENT_IMAGE", "STYLE_IMAGE", "OUTPUT_DIR", "RESUME")  # named by themselves, or by no one
CHAINED = "the picture before"  # as which a picture of a chain begins
TIMES_AS_LONG = 20  # as the last writing took pass before the page is written again


class Gallery:
    """The page, at path, of all finished runs among some Paintings and of what failed; clock returns seconds."""

    def __init__(self, paintings, clock=time.monotonic):
        self._paintings, self.path = paintings, paintings.output / "index.html"
        self._known, self._sources = {}, {}  # by folder: its record, and what is shown; by path: its thumbnail
        self._hashes = {}  # by path: the sha256 that a photo or painting has today, None for one that is gone
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
            self._write([self._known[folder][1] for folder in self._paintings.facts], failures)
            self._due = self._clock() + TIMES_AS_LONG * (self._clock() - began)

    def _write(self, paintings, failures):
        lessons = dict.fromkeys(painting.texts["lesson"] for painting in paintings)
        for lesson in lessons:  # what differs between lessons is mostly their own defaults
            different = differing_settings([p.texts for p in paintings if p.texts["lesson"] == lesson])
            lessons[lesson] = ["lesson"] * (len(lessons) > 1) + different
        names = _short_names({path for p in paintings for path in (p.photo, *(path for path, _ in p.styles))})
        short = _short_texts(paintings, lessons.values())
        columns, cells = {}, {}
        for painting in paintings:
            styles, different = painting.styles, lessons[painting.texts["lesson"]]
            texts = [painting.texts[name] for name in different]
            style = " + ".join(
                names[path] + (f" × {weight:g}" if weight and len(styles) > 1 else "") for path, weight in styles
            )
            column = styles, tuple(texts)
            named = (f"{name} {short[name, painting.texts[name]]}".removeprefix("lesson ") for name in different)
            columns[column] = style, ", ".join(named)
            cells.setdefault((painting.photo, column), []).append(painting)
        count = f"{len(paintings)} picture{'s' * (len(paintings) != 1)}" + f", {len(failures)} failed" * bool(failures)
        template = Template(PAGE.read_text(encoding="utf-8"), autoescape=True, trim_blocks=True)
        page = template.render(
            count=count,
            columns=dict(sorted(columns.items(), key=lambda item: [by_number(text, DECIMAL) for text in item[1]])),
            photos=sorted({p.photo for p in paintings}, key=lambda path: (by_number(names[path].lower()), path)),
            cells=cells,
            names=names,
            sources=self._sources,
            failures=failures,
        )
        write_file(self.path, page.encode("utf-8", "replace"))

    def _painting(self, folder, record):
        """Return what the page says of a run; settings as texts, and no thumbnail if its picture cannot be read."""
        settings, sha256 = from_record(record["settings"]), described_files(record)
        styles = tuple(styles_that_count(settings))
        changed = False
        for path in (settings.CONTENT_IMAGE, *(path for path, _ in styles)):
            if not self._sources.get(path):
                self._sources[path] = self._source(path, sha256.get(path))
            changed |= self._hashes[path] not in (None, sha256.get(path))
        shown = {name: getattr(settings, name) for name in SETTINGS if name not in NOT_SHOWN}
        before = Path(shown["INIT"])
        if before.name == PICTURE and (self.path.parent / before.parent.name / PICTURE).is_file():
            shown["INIT"] = CHAINED
        lesson = (record.get("lesson") or {}).get("notebook") or (FIRST if has_gram_matrices(settings) else SECOND)
        texts = _texts(json.dumps(shown | {"lesson": lesson}))
        costs, seconds = _last_epoch(folder)
        return SimpleNamespace(
            photo=settings.CONTENT_IMAGE,
            styles=styles,
            texts=texts,
            folder=folder.name,
            link=f"{quote(os.fsencode(folder.name))}/{PICTURE}",
            thumbnail=self._thumbnail(folder.name, folder / PICTURE, THUMBNAIL_SIZE, dated=True),
            cost="".join(f"{value:.6g}" for value in list(costs.values())[:1]),
            text=" · ".join([*(f"{name} {_short(value)}" for name, value in costs.items()), seconds])
            + " · before a picture was changed" * changed,
        )

    def _source(self, path, sha256):
        """Return the thumbnail of a photo or painting, or None if it is not what was painted from."""
        if path not in self._hashes:
            self._hashes[path] = None
            with contextlib.suppress(OSError, ValueError):
                self._hashes[path] = sha256_of(path)
        if self._hashes[path] not in (None, sha256):
            return None
        return self._thumbnail(sha256 or path, path, SOURCE_SIZE)  # also of one that has been moved

    def _thumbnail(self, key, picture, size, dated=False):
        """Return the thumbnail of a picture, a dict of name, width and height, or None if it cannot be read.

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
                return {"name": name, "width": thumbnail.width, "height": thumbnail.height}
        return None


@functools.lru_cache(maxsize=1000)
def _texts(settings):
    """Return a dict of settings, given as JSON, as texts; pictures of the same settings share it."""
    return {name: f"{v:g}" if isinstance(v, float) else str(v) or '""' for name, v in json.loads(settings).items()}


def differing_settings(all_texts):
    """Return the names of the settings in which some dicts of settings as texts differ, in their order."""
    distinct = list({id(texts): texts for texts in all_texts}.values())
    values = {name: {texts[name] for texts in distinct} for name in (distinct[0] if distinct else ())}
    if len(values.get("INIT", set()) - {CHAINED}) < 2:  # a chain begins in its own way
        values.pop("INIT", None)
    return [name for name, texts in values.items() if len(texts) > 1]


def _short_texts(paintings, different):
    """Return a dict of (name of a setting, its text) to what stands at the head of a column, short where this is clear.

    different is a list of lists of the names that are shown.
    """
    short = {}
    for name in set(itertools.chain.from_iterable(different)):
        texts = {painting.texts[name] for painting in paintings}
        cut = {text: text if len(text) <= 60 else f"{text[:29]}…{text[-30:]}" for text in texts}
        clear = len(set(cut.values())) == len(texts)
        short |= {(name, text): cut[text] if clear else text for text in texts}
    return short


def _short_names(paths):
    """Return a dict of paths to the names of their files as they are, without suffix where that is clear enough."""
    stems = Counter(Path(path).stem for path in paths)
    names = Counter(Path(path).name for path in paths)
    clear = {path: Path(path).name if names[Path(path).name] == 1 else path for path in paths}
    return {path: Path(path).stem if stems[Path(path).stem] == 1 else clear[path] for path in paths}


def _short(cost):
    return f"{cost:.0f}" if cost >= 1000 else f"{cost:.3g}"


def _last_epoch(folder):
    """Return a dict of the costs at the beginning of a run's last epoch, and the seconds that it took as a text."""
    with contextlib.suppress(OSError, IndexError, KeyError, ValueError):
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            row = {name: float(text) for name, text in list(csv.DictReader(file))[-1].items() if name != "epoch"}
        seconds = row.pop("seconds")
        return row, f"{seconds:.0f}\N{NO-BREAK SPACE}s"
    return {}, "no costs"
