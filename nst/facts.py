"""What a record says of a run: all that its picture depends on."""

import hashlib
import platform
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from nst.backend import device, keras, tf
from nst.errors import RunError
from nst.lesson import describe_functions
from nst.settings import style_pictures
from nst.table import STARTS


def describe_run(settings, shape, plan, network, make_network, context):
    """Return the facts of a run, as settings.json has them.

    shape is the picture's (H, W), plan a list of (size, epochs), network what the lesson's function make_network has
    made of the settings, and context an nst.context.Context.
    """
    return {
        "settings": settings,
        **_describe_sources(settings),
        "generated_image": {"width": shape[1], "height": shape[0]},
        "sizes": [list(pair) for pair in plan],
        "weights": {"name": network.weights_name, "sha256": network.weights_sha256},
        "precision": network.precision,
        "device": device(),
        "lesson": {
            "notebook": context.notebook,
            "cells": context.cells,
            "functions": describe_functions(make_network),
        },
        "versions": _describe_versions(),
    }


def check_unchanged(facts, settings):
    """Look whether the pictures are those of a record's facts still. RunError: a file has been changed meanwhile."""
    for key, described in _describe_sources(settings).items():
        if described != facts[key]:
            raise RunError(
                f"{key} is not what the run began with: a file has been changed meanwhile. Bring it back and go on "
                "with RESUME, or start anew."
            )


def _describe_sources(settings):
    """Return what is said of the pictures that a run is made from: their names in the settings, and sha256."""
    styles = style_pictures(settings.STYLE_IMAGE)
    return {
        "content_image": _describe_file(settings.CONTENT_IMAGE),
        "style_images": [{**_describe_file(path), "weight": weight} for path, weight in styles],
        "style_masks": [_describe_file(path) for path in settings.STYLE_MASKS],
        "style_parts": [_describe_file(path) for path in settings.STYLE_PARTS],
        "init_image": None if settings.INIT in STARTS else _describe_file(settings.INIT),
    }


def _describe_file(path):
    return {"file": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def _describe_versions():
    """Return the versions of what a picture depends on."""
    modules = {"tensorflow": tf, "keras": keras, "numpy": np, "pillow": Image, "matplotlib": matplotlib}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in modules.items()}}
