"""The page that shows what a batch has painted: every link leads somewhere, whatever the names."""

import json
import sys
from collections import namedtuple
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from conftest import ROOT, SETTINGS

sys.path.insert(0, str(ROOT / "scripts"))

from gallery import Gallery, differing_settings

NAMES = ["palace-wave", "a 100 % #1 & more-wave", "\"q\" 'q'-wave", "ç 好?-wave", "<b>-wave"]
Failed = namedtuple("Failed", "name")


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def paintings(tmp_path):
    """Runs in folders with difficult names, of upright and lying pictures."""
    facts = {}
    for number, name in enumerate(NAMES):
        folder = tmp_path / name
        folder.mkdir()
        Image.new("RGB", (640, 360) if number % 2 else (300, 600), "teal").save(folder / "generated_image.png")
        settings = SETTINGS | {"CONTENT_IMAGE": f"photos/{name.removesuffix('-wave')}.jpg", "BETA": 100.0 * number}
        facts[folder] = {"settings": settings}
        (folder / "settings.json").write_text(json.dumps(facts[folder]))
        (folder / "history.csv").write_text("epoch,seconds,J,J_content,J_style\n0,0.5,9,0,9\n1,12.4,3.21,1,2\n")
    return SimpleNamespace(output=tmp_path, facts=facts)


def test_every_link_leads_to_a_file(paintings):
    gallery = Gallery(paintings)
    gallery.write([(Failed("bad & <worse>"), "it is 'no' <picture>")])
    page = Page(gallery.path)
    links = [a["href"] for a in page.all("a")] + [image["src"] for image in page.all("img")]
    assert len(links) == 4 * len(NAMES)
    for link in links:
        parts = urlsplit(link)
        assert not (parts.scheme or parts.netloc or parts.query or parts.fragment or link.startswith("/")), link
        assert (paintings.output / unquote(parts.path)).is_file(), link
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.elements}, "it needs no other file and no network"
    assert "5 pictures, 1 failed" in page.text
    assert "bad & <worse>" in page.text
    assert "it is 'no' <picture>" in page.text


def test_pictures_are_loaded_when_they_are_needed_and_have_their_room_before(paintings):
    gallery = Gallery(paintings)
    gallery.write()
    for image in Page(gallery.path).all("img"):
        with Image.open(paintings.output / unquote(image["src"])) as thumbnail:
            assert (str(thumbnail.width), str(thumbnail.height)) == (image["width"], image["height"])
            assert max(thumbnail.size) == 480
        assert image["loading"] == "lazy"


def test_alternative_texts_and_captions_say_what_differs(paintings):
    gallery = Gallery(paintings)
    gallery.write()
    page = Page(gallery.path)
    assert "a 100 % #1 & more in the manner of great wave, BETA 100" in [image["alt"] for image in page.all("img")]
    assert "IMAGE_SIZE" not in page.text, "it is the same in all"
    assert "J 3.21 · J_content 1 · J_style 2 · 12 s" in page.text


def test_page_is_written_again_with_what_is_new(paintings):
    facts, paintings.facts = paintings.facts, {}
    gallery = Gallery(paintings)
    gallery.write()
    assert "0 pictures" in Page(gallery.path).text
    paintings.facts = facts
    gallery.write()
    thumbnails = {path: path.stat().st_mtime_ns for path in (paintings.output / "thumbnails").iterdir()}
    Gallery(paintings).write()
    assert {path: path.stat().st_mtime_ns for path in thumbnails} == thumbnails, "a thumbnail is made once"
    assert len(Page(gallery.path).all("li")) == len(thumbnails) == len(NAMES)


def test_settings_that_differ():
    first = {"CONTENT_IMAGE": "a", "BETA": 1.0, "SIZES": [], "OLD": 1}
    assert differing_settings([first, {"CONTENT_IMAGE": "b", "BETA": 2.0, "SIZES": []}]) == ["BETA", "OLD"]
    assert differing_settings([first]) == differing_settings([]) == []


def test_mixed_styles_have_names(paintings):
    for record in paintings.facts.values():
        record["settings"]["STYLE_IMAGE"] = [["images/great_wave.jpg", 3], ["b_c.jpg", 1]]
    gallery = Gallery(paintings)
    gallery.write()
    assert "in the manner of great wave × 3 + b c × 1" in Page(gallery.path).all("img")[0]["alt"]
