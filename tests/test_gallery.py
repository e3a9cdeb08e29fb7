"""The page that shows what a batch has painted: every link leads somewhere, whatever the names."""

import json
import os
import re
from collections import namedtuple
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from PIL import Image

from batch.gallery import Gallery
from batch.records import sha256_of
from conftest import SETTINGS
from nst.lesson import FIRST, SECOND

PHOTOS = ["IMG_2041", "a 100 % #1 & more", "'q'", "b", "ç 好"]
STYLES = ["images/great_wave.jpg", "images/composition_viii.jpg"]
Failed = namedtuple("Failed", "name")


@pytest.fixture
def paintings(tmp_path):
    """Runs in folders with difficult names, of upright and lying pictures: each photo with each style but one."""
    facts = {}
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(PHOTOS):
        photo = tmp_path / "photos" / f"{name}.png"
        Image.new("RGB", (640, 360) if number % 2 else (300, 600), (50 * number, 99, 99)).save(photo)
        for style in STYLES[number == 1 :]:
            folder = tmp_path / f"{name}-{style[7:12]}"
            folder.mkdir()
            Image.open(photo).save(folder / "generated_image.png")
            files = [{"file": path, "sha256": sha256_of(path)} for path in (str(photo), style)]
            settings = SETTINGS | {"CONTENT_IMAGE": str(photo), "STYLE_IMAGE": style}
            facts[folder] = {"settings": settings, "files": files}
            (folder / "settings.json").write_text(json.dumps(facts[folder]))
            (folder / "history.csv").write_text("epoch,seconds,J,J_content,J_style\n0,0.5,9,0,9\n1,12.4,3.21,1,2\n")
    return SimpleNamespace(output=tmp_path, facts=facts)


def write(paintings, *failures):
    """Write the page; return its source, and its images as (path, alternative text, width, height)."""
    gallery = Gallery(paintings)
    gallery.write(failures)
    source = gallery.path.read_text(encoding="utf-8")
    image = r'<img src="([^"]+)" alt="([^"]*)" loading="lazy" decoding="async" width="(\d+)" height="(\d+)">'
    return source, re.findall(image, source)


def table(source):
    """Return the texts of the cells of a page's table, row by row."""
    rows = re.findall("<tr>(.*?)</tr>", source, re.DOTALL)
    cells = [re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub("<[^>]+>", "", cell)) for cell in row] for row in cells]


def test_every_link_leads_to_a_file_and_none_elsewhere(paintings):
    source, images = write(paintings, (Failed("bad & <worse>"), "it is 'no' <picture>"))
    links = re.findall('<a href="([^"]+)"', source)
    assert (len(links), len(images)) == (9, 9 + len(PHOTOS) + len(STYLES))
    for link in [*links, *(path for path, *_ in images)]:
        assert (paintings.output / unquote(link)).is_file(), link
    assert not re.search('<(link|iframe|script [^>]*src)|https?:|src="/', source), "it needs no other file, no network"
    assert "{%" not in source and "{{" not in source
    for text in ("9 pictures, 1 failed", "bad &amp; &lt;worse&gt;", "it is &#39;no&#39; &lt;picture&gt;"):
        assert text in source


def test_a_row_for_each_photo_and_a_column_for_each_style_and_value(paintings):
    for record in list(paintings.facts.values())[:2]:
        record["settings"] |= {"BETA": 800.0}
    (corner, *heads), *rows = table(write(paintings)[0])
    names = [f"{style}BETA {beta}by cost" for style in ("composition_viii", "great_wave") for beta in (40, 800)]
    assert (corner, heads) == ("", names)
    assert [row[0] for row in rows] == sorted(PHOTOS, key=str.lower)
    cells = {name: [bool(cell) for cell in row] for name, *row in rows}
    assert cells["IMG_2041"] == [False, True, False, True]
    assert cells["a 100 % #1 & more"] == [True, False, False, False]


def test_pictures_have_their_room_before_they_are_loaded_and_say_what_they_are(paintings):
    source, images = write(paintings)
    for path, text, width, height in images:
        with Image.open(paintings.output / path) as thumbnail:
            assert thumbnail.size == (int(width), int(height))
            assert max(thumbnail.size) == (480 if text else 320)
    assert "a 100 % #1 &amp; more in the manner of composition_viii" in [text for _, text, *_ in images]
    assert (
        source.count(' data-cost="3.21"')
        == source.count("J 3.21 · J_content 1 · J_style 2 · 12\N{NO-BREAK SPACE}s")
        == 9
    )


def test_a_thumbnail_is_that_of_the_picture_as_it_is_now(paintings):
    gallery = Gallery(paintings)
    gallery.write()
    thumbnails = {path: path.stat().st_mtime_ns for path in (paintings.output / "thumbnails").iterdir()}
    folder = next(iter(paintings.facts))
    Image.new("RGB", (400, 400)).save(folder / "generated_image.png")
    paintings.facts[folder] = dict(paintings.facts[folder])  # what Paintings.add does
    gallery.write()
    made_again = [path for path, time in thumbnails.items() if path.stat().st_mtime_ns != time]
    assert [Image.open(path).size for path in made_again] == [(400, 400)]


def test_what_cannot_be_read_or_has_changed_is_left_out_and_ends_nothing(paintings):
    damaged, gone, *_ = paintings.facts
    (damaged / "generated_image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (gone / "generated_image.png").unlink()
    os.remove(paintings.output / "photos" / "b.png")
    Image.new("RGB", (99, 99)).save(paintings.output / "photos" / "ç 好.png")
    source, images = write(paintings)
    assert source.count("its picture cannot be read") == 2
    assert len(images) == 7 + len(PHOTOS) + len(STYLES) - 2


def test_the_head_of_a_photo_that_was_moved_away_stays(paintings):
    before = write(paintings)[1]
    for photo in (paintings.output / "photos").iterdir():
        photo.unlink()
    assert write(paintings)[1] == before


def test_a_photo_that_was_changed_has_its_new_face_and_says_which_pictures_are_older(paintings):
    folder, record = next(iter(paintings.facts.items()))
    photo = Path(record["settings"]["CONTENT_IMAGE"])
    Image.new("RGB", (200, 500), "red").save(photo)
    files = [{"file": str(photo), "sha256": sha256_of(photo)}, *record["files"][1:]]
    paintings.facts[folder.with_name("again")] = record | {"files": files}
    folder.rename(folder.with_name("moved"))
    paintings.facts[folder.with_name("moved")] = paintings.facts.pop(folder)
    source, images = write(paintings)
    assert ("128", "320") in [image[2:] for image in images], "the thumbnail of the new photo"
    older = sum(record["settings"]["CONTENT_IMAGE"] == str(photo) for record in paintings.facts.values()) - 1
    assert source.count("before a picture was changed") == older > 0


def test_each_lesson_has_its_own_settings_at_the_heads(paintings):
    (first, *_), (second, *_) = list(paintings.facts.items())[0], list(paintings.facts.items())[2]
    for folder, record in paintings.facts.items():
        record["lesson"] = {"notebook": "first.ipynb"}
        record["settings"] |= {"BETA": 800.0} if folder == first else {}
    other = {name: value for name, value in SETTINGS.items() if name != "BETA"} | {"ALPHA": 0.5, "LAST_EPOCHS": 3}
    pictures = {name: paintings.facts[second]["settings"][name] for name in ("CONTENT_IMAGE", "STYLE_IMAGE")}
    paintings.facts[second] |= {"lesson": {"notebook": "second.ipynb"}, "settings": other | pictures}
    heads = table(write(paintings)[0])[0]
    for values in ("first.ipynb, BETA 40", "first.ipynb, BETA 800", "second.ipynb"):
        assert any(re.fullmatch(f"[a-z_]+{values}by cost", head.replace("viii", "")) for head in heads), heads


def test_pictures_of_one_style_are_told_apart_by_what_differs(paintings):
    layers = [[["block1_conv1", 1.0], [f"block{number}_conv1", 1.0], ["block5_conv1", 1.0]] for number in (2, 3)]
    for number, record in enumerate(paintings.facts.values()):
        record["settings"] |= {"STYLE_IMAGE": STYLES[0], "INIT": ("content", PHOTOS[0])[number % 2]}
    heads = table(write(paintings)[0])[0][1:]
    assert sorted(heads) == ["great_waveINIT IMG_2041by cost", "great_waveINIT contentby cost"], "a picture is a value"
    for number, record in enumerate(paintings.facts.values()):
        record["settings"] |= {"INIT": "content", "STYLE_LAYERS": layers[number % 2]}
        record.pop("lesson", None)  # of a run that no batch has painted
    heads = table(write(paintings)[0])[0][1:]
    assert len({*heads}) == 2 and "block2_conv1" in heads[0] and "block3_conv1" in heads[1], heads
    for number, record in enumerate(paintings.facts.values()):
        record["settings"] |= {"STYLE_LAYERS": layers[0]}
        record["settings"].pop("BETA" if number % 2 else "MIXTURE", None)
    heads = table(write(paintings)[0])[0][1:]
    assert sorted(heads) == [f"great_wave{name}by cost" for name in sorted((FIRST, SECOND))]


def test_large_costs_are_plain_numbers(paintings):
    folder = next(iter(paintings.facts))
    (folder / "history.csv").write_text("epoch,seconds,J\n0,0.5,1067.4\n")
    assert "<small>J 1067 · 0" in write(paintings)[0]


def test_the_page_takes_a_bounded_share_of_the_time(paintings, monkeypatch):
    now, written = [0.0], []

    def write_file(path, content):
        written.append(now[0])
        now[0] += 1  # so long does it take

    monkeypatch.setattr("batch.gallery.write_file", write_file)
    monkeypatch.setattr(Gallery, "_thumbnail", lambda *arguments, **options: None)
    gallery = Gallery(paintings, clock=lambda: now[0])
    for _ in range(100):  # a picture each second
        gallery.write(sparingly=True)
        now[0] += 1
    assert written[:2] == [0.0, 21.0]
    assert len(written) == 5
    gallery.write()
    assert len(written) == 6, "at the end in any case"


def test_mixed_styles_and_photos_of_one_name_can_be_told_apart(paintings):
    for number, (folder, record) in enumerate(paintings.facts.items()):
        record["settings"] |= {"STYLE_IMAGE": [["images/great_wave.jpg", 3], ["b_c.jpg", 1]]}
        before = f"gallery/{folder.name}/generated_image.png"  # wherever it was painted
        record["settings"] |= {"CONTENT_IMAGE": f"{number % 2}/photo.jpg", "INIT": before}
    next(iter(paintings.facts.values()))["settings"]["INIT"] = "content"  # the first of the chain
    head, *rows = table(write(paintings)[0])
    assert head[1:] == ["great_wave × 0.75 + b_c × 0.25by cost"]
    assert [row[0] for row in rows] == ["0/photo.jpg", "1/photo.jpg"]
    for weights in (3, 0):
        next(iter(paintings.facts.values()))["settings"]["STYLE_IMAGE"] = [
            ["images/great_wave.jpg", weights],
            ["b_c.jpg", 1],
        ]
        for record in paintings.facts.values():
            record["settings"].pop("BETA", None)
        head, *_ = table(write(paintings)[0])
        assert head[1:] == ["great_wave + b_cby cost"], "in the second lesson weights have no say"
    for number, record in enumerate(paintings.facts.values()):
        record["settings"] |= {"CONTENT_IMAGE": f"photos/IMG.{'jpg' if number % 2 else 'PNG'}"}
    assert [row[0] for row in table(write(paintings)[0])[1:]] == ["IMG.jpg", "IMG.PNG"]
