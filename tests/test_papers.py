"""What stands beside the code: that it can be read by those it is for, and names what is there."""

import json
import re

import pytest

from conftest import ROOT

yaml = pytest.importorskip("yaml")  # jupyter brings it


def test_citation_can_be_read():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(cited)
    for work in (cited, *cited["references"]):
        assert work["title"] and all("name" in author or "family-names" in author for author in work["authors"])
    assert all({"type", "year"} <= set(reference) for reference in cited["references"])


def test_development_container_runs_a_target_of_the_makefile():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    target = container["postCreateCommand"].removeprefix("make ")
    assert f"\n{target.replace('.venv', '$(VENV)')}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"python:3\.1[123]$", container["image"])


@pytest.mark.parametrize("name", ["README.md", "TEACHING.md", "CONTRIBUTING.md", "CHANGELOG.md", "scripts/README.md"])
def test_papers_name_files_that_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []
    pictures = re.findall(r"!\[(.*?)\]\(", text)
    assert all(len(words) > 20 for words in pictures), "a picture without a description"
    files = re.findall(r"`((?:nst|scripts|images|batch|tests)/[\w./-]+\.\w+)`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []
