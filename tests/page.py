#!/usr/bin/env python3
"""Opens the page in a Chromium without a screen and plays it as a person would: tests/page.py PAGE [PROGRAM] [PICTURE]

PAGE is what `cargo xtask package page` makes, PROGRAM the command line, whose sounds the page's are held to; PICTURE takes
what was seen. Needs chromedriver and chromium (on Debian: chromium chromium-driver), and nothing of Python but itself.
Ends with 0 if all held; tells how long sounds took, which it holds to nothing.
"""

import base64
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import wave


class Browser:
    """A session of the WebDriver protocol [W3C WebDriver]."""

    def __init__(self, downloads):
        # A driver is of its browser's version: where there is Chrome, it is Chrome's.
        binary = shutil.which("google-chrome") or shutil.which("chromium")
        if not binary or not shutil.which("chromedriver"):
            sys.exit("tests/page.py: missing: chromedriver, or chromium and google-chrome")
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.driver.stdout:
            if "successfully on port" in line:
                self.place = f"http://127.0.0.1:{line.rsplit(' ', 1)[1].strip().rstrip('.')}/session"
                break
        else:
            sys.exit("tests/page.py: chromedriver did not start")
        options = {
            "binary": binary,
            "args": ["--headless=new", "--no-sandbox", "--window-size=1180,860"],
            "prefs": {"download.default_directory": str(downloads)},
        }
        made = self.ask("POST", "", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self.place += "/" + made["sessionId"]

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.place + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"tests/page.py: {method} {path}: {error.read().decode()[:500]}")

    def run(self, script):
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, what, script, seconds=120):
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            if time.monotonic() > end:
                said = self.run("return document.getElementById('status').textContent")
                sys.exit(f"tests/page.py: expected {what} within {seconds} s; the page says: {said}")
            time.sleep(0.05)
        return found

    def open(self, address):
        # From elsewhere: another address of the same page alone does not open it anew.
        self.ask("POST", "/url", {"url": "about:blank"})
        self.ask("POST", "/url", {"url": address})

    def click(self, selector):
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        self.ask("POST", f"/element/{next(iter(found.values()))}/click", {})

    def key(self, key):
        press = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": press}]})

    def close(self):
        self.ask("DELETE", "")
        self.driver.terminate()


def hold(condition, sentence):
    if not condition:
        sys.exit(f"tests/page.py: {sentence}")
    print(f"held: {sentence}")


READY = """
    const pads = [...document.querySelectorAll('#pads button')];
    return pads.length === 16 && pads.every((pad) => pad.dataset.state === 'there');
"""
PADS = "return [...document.querySelectorAll('#pads button')].map((pad) => pad.dataset.recipe);"
# Bytes as base64, of the WAV file of each pad.
FILES = """
    return pads.map((recipe) => {
        let letters = '';
        for (const byte of sounds.get(recipe).wav) letters += String.fromCharCode(byte);
        return btoa(letters);
    });
"""


def values(path):
    """Samples of a WAV file of 24 bits."""
    with wave.open(str(path)) as file:
        assert file.getsampwidth() == 3, file.getparams()
        data = file.readframes(file.getnframes())
    return [int.from_bytes(data[i : i + 3], "little", signed=True) / 2**23 for i in range(0, len(data), 3)]


def main():
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    page = pathlib.Path(sys.argv[1]).resolve()
    program = sys.argv[2] if len(sys.argv) > 2 else None
    address = page.as_uri()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        browser = Browser(folder)
        try:
            play(browser, address, folder, program)
            if len(sys.argv) > 3:
                picture = base64.b64decode(browser.ask("GET", "/screenshot"))
                pathlib.Path(sys.argv[3]).write_bytes(picture)
        finally:
            browser.close()
    print("good")


def play(browser, address, folder, program):
    begun = time.monotonic()
    browser.open(address)
    browser.until("a first sound", "return [...sounds.values()].some((made) => made.buffer)")
    first = time.monotonic() - begun
    browser.until("sixteen sounds", READY)
    print(f"told: first sound after {first:.2f} s, sixteen after {time.monotonic() - begun:.2f} s")
    classes = browser.run("return [...document.getElementById('class').options].map((it) => it.value)")
    hold(len(classes) == 14, "the model's fourteen classes can be chosen")
    files = browser.run(FILES)
    hold(len(set(files)) == 16, "sixteen pads have sixteen sounds")

    kit = browser.run(PADS)
    browser.click("#pads button:nth-child(2)")
    browser.click("#new")
    browser.until("a new sound", READY)
    new = browser.run(PADS)
    hold(
        new[:1] + new[2:] == kit[:1] + kit[2:] and new[1] != kit[1] and new[1].startswith("rim-"),
        "New makes another sound of its kind on the selected pad, and changes no other",
    )
    browser.key("m")
    browser.until("a variation", READY)
    varied = browser.run(PADS)
    hold(varied[1].startswith(new[1] + "-"), "M varies what the pad has")
    hold(browser.run(FILES)[1] not in files, "and it is a sound of its own")
    browser.ask("POST", "/back", {})
    browser.until("what was before", "return pads[1] === '%s'" % new[1])
    browser.ask("POST", "/forward", {})
    browser.until("what was after", "return pads[1] === '%s'" % varied[1])
    hold(True, "Back undoes, Forward does it again")

    browser.key("k")
    kept = "return [...document.querySelectorAll('#kept li')].map((it) => it.firstChild.textContent)"
    hold(browser.run(kept) == [varied[1]], "K keeps it")
    browser.click("#download")
    place = folder / f"{varied[1]}.wav"
    end = time.monotonic() + 20
    while not place.exists() and time.monotonic() < end:
        time.sleep(0.1)
    sounds = browser.run(FILES)
    hold(place.read_bytes() == base64.b64decode(sounds[1]), f"Download writes {place.name}")
    browser.click("#pads button:nth-child(1)")
    hold(browser.run("return selected") == 0 and browser.run("return audio.state") == "running", "a pad is played")

    link = browser.run("return location.href")
    browser.open(link)
    browser.until("the kit of the link", READY)
    hold(browser.run(PADS) == varied and browser.run(FILES) == sounds, "the link gives the same sounds, bit for bit")
    hold(browser.run(kept) == [varied[1]], "what was kept is still there")

    browser.open(address + "#kick-7,nothing-1,hat_closed-7,snare,%3Cb%3E-1,bass-7,cymbal-7")
    browser.until(
        "fourteen pads that sound and three that cannot",
        "const states = [...document.querySelectorAll('#pads button')].map((pad) => pad.dataset.state);"
        "return states.every((it) => it !== 'waiting') && states.filter((it) => it === 'trouble').length === 3",
    )
    browser.click("#pads button:nth-child(2)")
    said = browser.run("return document.getElementById('length').textContent")
    hold("nothing" in said and "kick" in said, f"a class that is none is told: {said[:60]}…")
    browser.click("#pads button:nth-child(4)")
    said = browser.run("return document.getElementById('length').textContent")
    hold("found `snare`" in said, f"and a sound without a seed: {said}")
    hold(browser.run("return document.querySelectorAll('#pads b').length") == 0, "what an address says is text")

    if program:
        for class_ in ("kick", "hat_closed", "bass", "cymbal"):
            here = folder / f"{class_}.wav"
            subprocess.run([program, "-q", "render", "--class", class_, "--seed", "7", "-o", here], check=True)
            there = folder / f"{class_}-page.wav"
            wav = browser.run(
                "let letters = ''; for (const byte of sounds.get('%s-7').wav) letters += String.fromCharCode(byte);"
                "return btoa(letters)" % class_
            )
            there.write_bytes(base64.b64decode(wav))
            a, b = values(here), values(there)
            far = max((abs(x - y) for x, y in zip(a, b)), default=1)
            # Functions such as exp are rounded otherwise here and there.
            hold(len(a) == len(b) and far <= 1e-4, f"{class_}, seed 7, is the program's sound within {far:.1e}")

    browser.open(address)
    browser.until("sixteen sounds", READY)
    times = browser.run("return [...sounds.values()].map((made) => made.milliseconds)")
    print(f"told: a sound takes {statistics.median(times):.0f} ms (median), {max(times):.0f} ms (most)")


main()
