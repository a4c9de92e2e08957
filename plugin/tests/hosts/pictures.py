#!/usr/bin/env python3
"""Takes pictures of the window in its states: plugin/tests/hosts/pictures.py PROGRAM FOLDER

PROGRAM is the instrument without a host. Least and largest size, 100, 150 and 200 %, dark and light; the states of the
stage, lists and panels. Those of the README (models/window.png, models/window-states.png) are made of them. Needs xvfb,
xdotool, openbox, imagemagick and Mesa's software renderer.
"""

import os
import sys
import time

from desk import KIT, TABS, Window, on_a_screen, pad, run, until

# Names, preferences, and the states that are taken.
ALL = ["pads", "making", "ring", "morph", "map", "kits", "keys", "preferences", "model", "menu", "loop", "learn"]
SHOTS = [
    ("least", {}, ALL),
    ("first", {"window": [1200, 760]}, ["pads", "ring"]),
    ("largest", {"window": [1920, 1080]}, ["pads", "ring", "map"]),
    ("150", {"scale": 1.5}, ["pads"]),
    ("200", {"scale": 2.0}, ["pads", "ring"]),
    ("light", {"theme": "light"}, ["pads", "ring", "map", "kits"]),
]


def state(window, name):
    """Brings the window into a state; returns how to leave it."""
    match name:
        case "ring" | "morph" | "map":
            window.click(TABS[name.capitalize()])
            time.sleep({"ring": 5, "morph": 8, "map": 100}[name])
            if name == "ring":
                window.move((334, 240))
                time.sleep(0.4)
        case "making":
            window.click((830, 260))
            time.sleep(0.02)
        case "kits":
            window.click(KIT)
        case "keys":
            window.click((340, 74))
        case "preferences":
            window.click((782, 32))
        case "model":
            window.click((244, 32))
        case "learn":
            window.click((244, 32))
            window.click((270, 124))
        case "menu":
            window.click(pad(6), "3")
        case "loop":
            window.click((618, 604))
        case "pads":
            window.move((1, 1))
    if name != "making":
        time.sleep(0.8)


def leave(window, name):
    if name in ("kits", "keys", "preferences", "model", "learn", "menu"):
        run("xdotool", "key", "Escape")
        window.click((560, 90))
    if name in ("ring", "morph", "map"):
        window.click(TABS["Pads"])


def take(folder):
    program, pictures = (os.path.abspath(path) for path in sys.argv[1:3])
    os.makedirs(pictures, exist_ok=True)
    for name, preferences, states in SHOTS:
        window = Window(program, f"{folder}/{name}", **preferences)
        until("all pads have sounds", lambda: len([it for it in window.sounds() if it]) == 16)
        time.sleep(1)
        for it in states:
            state(window, it)
            window.picture(f"{pictures}/{name}-{it}.png")
            leave(window, it)
        window.close()
    os.chdir(pictures)
    run("convert", "first-pads.png", "window.png")
    strip = ["least-ring.png", "least-morph.png", "least-map.png", "least-kits.png"]
    # The left of each: what is found there.
    crops = [part for it in strip for part in ("(", it, "-crop", "452x500+4+52", "+repage", ")")]
    crops[-5:-1] = ["least-kits.png", "-crop", "452x500+330+8", "+repage"]
    run("convert", *crops, "+append", "-resize", "1600x", "window-states.png")


on_a_screen((2100, 1440), take)
