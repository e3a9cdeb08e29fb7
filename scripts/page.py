"""An executed notebook as one HTML page that needs no other file and no network: the result first, then the lesson."""

import base64
import copy
import html
import io
import json
import re
from pathlib import Path

from matplotlib import mathtext
from matplotlib.font_manager import FontProperties
from nbconvert import HTMLExporter
from PIL import Image

from nst.errors import RunError
from nst.files import claim_name, fit_name, write_file

LARGEST = 1920  # pixels of the result on the page; the file itself may be larger
SHOWN_ELSEWHERE = ("CONTENT_IMAGE", "STYLE_IMAGE", "OUTPUT_DIR", "RESUME")
TEMPLATE = """
{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}
<style>
.result { font: 15px/1.5 system-ui, sans-serif; color: #333; margin: 0 auto 3em; max-width: 1200px }
.result figure { margin: 0; flex: 1 1 0; text-align: center; overflow-wrap: anywhere }
.result img { display: block; width: 100%; margin: 0 auto 0.4em }
.result .painted { width: min(100%, 95vh * var(--ratio)); margin: auto }
.result p { text-align: center }
.result .sources { display: flex; gap: 1em; max-width: 640px; margin: 1.5em auto }
@media (max-width: 640px) {
  .result .painted { width: 100vw; margin-left: calc(50% - 50vw) }
  .jp-InputPrompt, .jp-OutputPrompt { display: none !important }
}
</style>
{% endblock %}
{% block body_header %}{{ super() }}{{ resources.result }}{% endblock %}
"""
REPORT = """
import os
from IPython.display import display
from PIL import Image, ImageOps
from nst.images import to_uint8

if getattr(globals().get("run"), "folder", None):
    print(os.fsencode(run.folder.absolute()).hex())  # it need not be UTF-8, as messages are
    for image in (run.content_image, *run.style_images):
        display(ImageOps.contain(Image.fromarray(to_uint8(image)), (640, 640)))
"""  # what a kernel shows of its run after the training


def save_page(notebook, path, result="", base=""):
    """Write an executed notebook as a page under the next free name like a path, and return that.

    The page opens with a result, from show_run; base is the folder of the notebook's own pictures.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(cell.source)
    exporter = HTMLExporter(raw_template=TEMPLATE, embed_images=True)
    resources = {"metadata": {"name": path.stem, "path": str(base)}, "result": result}
    page, _ = exporter.from_notebook_node(notebook, resources)
    path.parent.mkdir(parents=True, exist_ok=True)
    path = claim_name(path.with_name(fit_name(path.stem, 200) + path.suffix))
    try:
        write_file(path, page.encode(errors="replace"))
    except RunError:
        path.unlink(missing_ok=True)
        raise
    return path


def show_run(picture, sources, facts, saved):
    """Return what the page of a run opens with, in HTML: its picture, from a path, its sources and its settings.

    sources are JPEGs in base64, of the photo and the paintings; facts is settings.json, and saved a dict of the
    settings that the notebook has.
    """
    with Image.open(picture) as image:
        image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    names = [Path(source["file"]).name for source in (facts["content_image"], *facts["style_images"])]
    saved = json.loads(json.dumps(saved))  # with lists for tuples, as in the record
    differing = {name: value for name, value in facts["settings"].items() if saved.get(name, value) != value}
    settings = [f"{name} = {value!r}" for name, value in differing.items() if name not in SHOWN_ELSEWHERE]
    settings = [f"<code>{html.escape(setting)}</code>" for setting in settings] or ["All settings are the notebook's."]
    done, epochs = facts["epochs_done"], sum(epochs for _, epochs in facts["sizes"])
    settings = [f"Stopped after epoch {done} of {epochs}"] * (done < epochs) + settings
    painted = _figure("", base64.b64encode(buffer.getvalue()).decode(), " after ".join(names[:2]))
    return (
        f'<section class="result"><div class="painted" style="--ratio:{image.width / image.height:.3f}">{painted}</div>'
        f'<div class="sources">{"".join(map(_figure, names, sources))}</div><p>{" · ".join(settings)}</p></section>'
    )


def _figure(name, jpeg, painted=""):
    name, painted = html.escape(name), html.escape(f"The painted picture: {painted}")
    caption = name and f"<figcaption>{name}</figcaption>"
    return f'<figure><img src="data:image/jpeg;base64,{jpeg}" alt="{name or painted}">{caption}</figure>'


def draw_formulas(markdown):
    """Replace the formulas of a Markdown text, $…$ and $$… \\tag{n}$$, by images."""

    def block(match):
        tex, _, number = match[1].replace(r"\frac", r"\dfrac").partition(r"\tag{")
        label = f'<span style="float:right">({number.strip(" }")})</span>' if number else ""
        return f'\n<div style="text-align:center;margin:1em 0">{label}{_formula(tex.strip(), 15)}</div>\n'

    markdown = re.sub(r"\$\$(.+?)\$\$", block, markdown, flags=re.DOTALL)
    return re.sub(r"\$([^$\n]+)\$", lambda match: _formula(match[1], 12), markdown)


def _formula(tex, size):
    """Return a formula as an HTML image, drawn by matplotlib, or as its source where that cannot be drawn."""
    drawn = re.sub(r"\\text\{([^}]*)\}", lambda text: r"\mathrm{" + text[1].replace(" ", r"\ ") + "}", tex)
    svg, font = io.BytesIO(), FontProperties(size=size, math_fontfamily="cm")
    try:
        depth = mathtext.math_to_image(f"${drawn}$", svg, prop=font, dpi=72, format="svg")
    except ValueError:
        return f"<code>{html.escape(tex)}</code>"
    data = base64.b64encode(svg.getvalue()).decode()
    return (
        f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(tex)}" '
        f'style="display:inline;margin:0;vertical-align:-{depth:.1f}px">'
    )
