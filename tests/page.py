#!/usr/bin/env python3
"""Opens the page in a Chromium without a screen and plays it as a person would: tests/page.py PAGE [PROGRAM] [PICTURE]

PAGE is what `cargo xtask package page` makes, PROGRAM the command line, whose sounds the page's are held to; PICTURE takes
what was seen. Needs chromedriver with Chrome or Chromium (on Debian: chromium chromium-driver), and nothing of Python but itself.
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
            sys.exit("tests/page.py: missing: chromedriver, or both google-chrome and chromium")
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
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1180,860"],
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

    def press(self, selector, kind, times=1):
        """Presses with a `mouse` or by `touch`."""
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        steps = [{"type": "pointerMove", "x": 0, "y": 0, "origin": found}]
        steps += [{"type": step, "button": 0} for step in ("pointerDown", "pointerUp") * times]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": steps}
        self.ask("POST", "/actions", {"actions": [pointer]})

    def devtools(self, command, **parameters):
        self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

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
SETTLED = "return worker && making === null && wanted.length === 0"
KEPT = "return [...document.querySelectorAll('#kept li')].map((it) => it.firstChild.textContent)"
# Counts the sounds that are begun.
COUNT = """
    window.heard = 0;
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function () { window.heard++; return start.apply(this, arguments); };
"""
ENTER = "\ue007"
# Bytes as base64, of the WAV file of each pad.
FILES = """
    return pads.map((recipe) => {
        let letters = '';
        for (const byte of sounds.get(recipe).wav) letters += String.fromCharCode(byte);
        return btoa(letters);
    });
"""


def downloaded(folder, pattern):
    """The files of this name, once there are any."""
    end = time.monotonic() + 20
    while not (found := list(folder.glob(pattern))) and time.monotonic() < end:
        time.sleep(0.1)
    return found


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
            browser.open(address)
            browser.until("sixteen sounds", READY)
            times = browser.run("return [...sounds.values()].map((made) => made.milliseconds)")
            print(f"told: a sound takes {statistics.median(times):.0f} ms (median), {max(times):.0f} ms (most)")
            if len(sys.argv) > 3:
                picture = base64.b64decode(browser.ask("GET", "/screenshot"))
                pathlib.Path(sys.argv[3]).write_bytes(picture)
            strain(browser, page, folder)
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
    hold(browser.run(KEPT) == [varied[1]], "K keeps it")
    browser.click("#download")
    place = folder / f"{varied[1]}.wav"
    downloaded(folder, place.name)
    sounds = browser.run(FILES)
    hold(place.read_bytes() == base64.b64decode(sounds[1]), f"Download writes {place.name}")
    browser.click("#pads button:nth-child(1)")
    hold(browser.run("return selected === 0 && audio.state === 'running'"), "a pad is selected by a click")

    link = browser.run("return location.href")
    browser.open(link)
    browser.until("the kit of the link", READY)
    hold(browser.run(PADS) == varied and browser.run(FILES) == sounds, "the link gives the same sounds, bit for bit")
    hold(browser.run(KEPT) == [varied[1]], "what was kept is still there")

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

    browser.click("summary")
    notices = browser.run("return document.querySelector('details[open] #notices').innerText")
    named = all(it in notices for it in ("by Frank Wen", "\ncandle-core ", "Permission is hereby granted"))
    hold(named, "the page names whose work is in it, and on which terms")

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


def strain(browser, page, folder):
    """What hands do that are fast, or clumsy, and what addresses, stores and programs do that are broken."""
    address = page.as_uri()
    browser.open(address)
    browser.until("sixteen sounds", READY)
    browser.run(COUNT)
    kit = browser.run(PADS)
    browser.press("#pads button:nth-child(3)", "touch")
    browser.until("sound", "return audio.state === 'running'", 10)
    time.sleep(0.5)
    hold(browser.run("return heard") == 1, "the first tap of a finger is heard, once")
    browser.press("#pads button:nth-child(3)", "mouse", times=2)
    struck = browser.run("return heard") == 3
    hold(struck and browser.run(PADS) == kit, "two quick clicks strike twice, and change nothing")
    browser.run("return audio.suspend().then(() => { heard = 0; for (let i = 0; i < 6; i++) strike(0); })")
    browser.until("sound", "return audio.state === 'running' && heard > 0", 10)
    hold(browser.run("return heard") == 1, "what is struck while the browser holds sound back does not pile up")
    browser.run("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '&', code: 'Digit1', bubbles: true}))")
    hold(browser.run("return heard") == 2, "a key that writes no such letter plays by its place")

    browser.run("strike(10); window.open_ = hat; strike(0); strike(6)")
    browser.until("silence of the open hat", "return open_.gain.value < 0.01 && hat !== open_ && hat.gain.value === 1", 10)
    hold(True, "a hat stops the one before, and nothing else does")

    browser.run("heard = 0; another(1); for (let i = 0; i < 6; i++) strike(1)")
    browser.until("a sound", READY)
    hold(browser.run("return heard") == 1, "what is struck while it is being made is heard once")
    browser.run("heard = 0; another(1); strike(0)")
    browser.until("a sound", READY)
    hold(browser.run("return heard") == 1, "and not at all where another pad was struck since")
    browser.run("window.before = sounds.size; for (let i = 0; i < 10; i++) another(1)")
    browser.until("no more to be made", SETTLED)
    made = browser.run("return sounds.size - before")
    hold(made <= 2 and browser.run(READY), "what ten quick presses put aside is not made")
    long = "kick-7" + "-4294967295" * 32
    browser.run(f"write('{long}', {{ wav: new Uint8Array(13) }})")
    found = downloaded(folder, "kick-7-4294967295*.wav")
    hold([it.stat().st_size for it in found] == [13], "a name that is too long for a file is cut")
    held = "new KeyboardEvent('keydown', {key: 'Enter', repeat: true, bubbles: true, cancelable: true})"
    again = browser.run(f"return document.getElementById('new').dispatchEvent({held})")
    hold(not again, "Enter that is held down presses once")
    browser.run("""
        const kind = document.getElementById('class');
        kind.focus();
        kind.dispatchEvent(new PointerEvent('pointerdown'));
        kind.dispatchEvent(new Event('change'));
    """)
    browser.until("a sound", READY)
    hold(browser.run("return document.activeElement === document.body"), "letters are the pads' once a kind is chosen")

    browser.run("""
        for (let i = 0; i < 300; i++) {
            const samples = new Float32Array(10);
            arrived({ recipe: `kick-${i}`, rate: 44100, channels: 1, samples, wav: samples, milliseconds: 1 });
        }
    """)
    full = browser.run("return sounds.size === MOST_SOUNDS")
    hold(full and browser.run(READY), "three hundred sounds leave the pads theirs, and no more than are to stay")

    browser.run("localStorage.clear(); load(); list()")
    browser.run("document.getElementById('vary').focus()")
    focused = "return document.activeElement.id || document.activeElement.title"
    browser.key(ENTER)
    now = browser.run(focused)
    browser.until("a variation", READY)
    hold(now == browser.run(focused) == "vary", "the focus stays on Vary while the variation is made")
    for pad in "123":
        browser.key(pad)
        browser.key("k")
    browser.run("document.querySelector('#kept li:nth-child(2)').lastChild.focus(); another(5)")
    browser.until("a sound", READY)
    hold(browser.run(focused) == "Forget", "the focus stays in the list while a sound is made")
    browser.key(ENTER)
    kept = browser.run(KEPT)
    hold(len(kept) == 2 and browser.run(focused) == "Forget", "Forget forgets one, and the focus goes to the next")
    named = "every((it) => it.ariaLabel.endsWith(it.parentNode.dataset.recipe))"
    named = browser.run(f"return [...document.querySelectorAll('#kept button')].{named}")
    hold(named, "each button of the list says what it is for")

    browser.run("localStorage.setItem('audiodiff.kept', JSON.stringify(['kick-99', 7, null]))")
    browser.key("k")
    current = browser.run("return pads[selected]")
    hold(browser.run(KEPT) == [current, "kick-99"], "what another tab keeps is not lost")
    browser.run("localStorage.setItem('audiodiff.kept', '[\"nothing-1\"]'); dispatchEvent(new StorageEvent('storage'))")
    hold(browser.run(KEPT) == ["nothing-1"], "and is shown at once")
    said = "return document.getElementById('status').textContent"
    for _ in range(2):
        browser.run("say('')")
        browser.click("#kept li button")
        browser.until("what is wrong with it", said + ".includes('nothing')", 10)
    hold(True, "a kept sound of a class that is none is told each time")
    browser.run("Storage.prototype.setItem = () => { throw new Error('full') }")
    browser.key("1")
    browser.key("k")
    hold("full" in browser.run(said), "a store that is full is told")
    browser.key("2")
    browser.key("k")
    hold(browser.run(KEPT) == browser.run("return [pads[1], pads[0], 'nothing-1']"), "and the list goes on without it")

    browser.open(f"{address}#%,__proto__-1,kick-18446744073709551616,{'x' * 3000}-1,%3Ci%3E-1,{'kick-1,' * 1000}")
    states = "const all = [...document.querySelectorAll('#pads button')].map((it) => it.dataset.state);"
    browser.until("pads that say what is wrong", states + "return all.length === 16 && !all.includes('waiting')")
    found = browser.run(states + "return all")
    hold(found == ["trouble"] * 5 + ["there"] * 11, "what a broken address does not say is on no pad but its own")
    browser.run("put(0, '%41-1')")
    pads, link = browser.run(PADS), browser.run("return location.href")
    browser.open(link)
    browser.until("pads that say what is wrong", states + "return all.length === 16 && !all.includes('waiting')")
    hold(browser.run(PADS) == pads, "and its link is the same pads")

    browser.run(f"kept = ['{long}']; list(); strike(3)")
    browser.devtools("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1.5, mobile=True)
    wide = browser.run("return document.documentElement.scrollWidth")
    hold(wide <= 360, f"all fits into a telephone's width, long names too: {wide} of 360")
    browser.devtools("Emulation.clearDeviceMetricsOverride")
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    moves = browser.run("strike(5); return getComputedStyle(document.querySelector('#pads .struck')).animationName")
    hold(moves == "none", "nothing moves where that is asked for")
    browser.devtools("Emulation.setEmulatedMedia", features=[])

    # A program that stops: as a trap does, it leaves nothing that could be called again.
    text = page.read_text()
    call = "const sound = synth.sound(data.recipe);"
    assert text.count(call) == 1
    stops = "if (data.recipe === 'kick-13') { synth = undefined; throw new WebAssembly.RuntimeError('unreachable'); }"
    broken = folder / "broken.html"
    broken.write_text(text.replace(call, stops + call))
    browser.open(broken.as_uri() + "#kick-12,kick-13")
    browser.until("all others", states + "return all.filter((it) => it === 'there').length === 15")
    told = browser.run(said)
    hold("kick-13 stopped the program" in told, f"a program that stops is told, and started anew: {told}")


main()
