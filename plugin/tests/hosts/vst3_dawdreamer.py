"""Checks the VST3 in DawDreamer, another host on JUCE: vst3_dawdreamer.py target/bundled/audiodiff.vst3 PICTURE

Opens the window too, on an X server with a window manager that closes windows at Alt+F4, and takes a picture
of the screen. Needs the Python packages dawdreamer and numpy, xdotool, and ImageMagick.
"""

import subprocess
import sys
import tempfile
import threading
import time

import dawdreamer
import numpy as np

RATE, BLOCK, SECONDS = 48000, 512, 1.0


def load(path):
    engine = dawdreamer.RenderEngine(RATE, BLOCK)
    plugin = engine.make_plugin_processor("synth", path)
    engine.load_graph([(plugin, [])])
    return engine, plugin


def play(engine, plugin, key=36):
    plugin.clear_midi()
    plugin.add_midi_note(key, 100, 0.1, 0.5)
    engine.render(SECONDS)
    return engine.get_audio().copy()


def loud(sound):
    return float(np.abs(sound).max())


start = time.time()
engine, plugin = load(sys.argv[1])
names = {d["name"]: d["index"] for d in plugin.get_parameters_description()}
print(f"loaded in {time.time() - start:.2f} s, {len(names)} parameters")
# A fresh instance is waited for in its first rendering.
for pad in range(16):
    assert loud(play(engine, plugin, 36 + pad)) > 0, f"pad {pad + 1} is silent"
first = play(engine, plugin)
assert (play(engine, plugin) == first).all(), "a note sounds the same each time"

with tempfile.NamedTemporaryFile() as file:
    plugin.save_state(file.name)
    other_engine, other = load(sys.argv[1])
    other.load_state(file.name)
    assert np.abs(play(other_engine, other) - first).max() == 0, "a project that is loaded sounds different"

    # Turned down in the middle, and up again by loading.
    gain = names["Pad 1 Gain"]
    n = int(RATE * SECONDS)
    ramp = np.full(n, plugin.get_parameter(gain), np.float32)
    ramp[n // 5:] = 0.0
    other.set_automation(gain, ramp)
    ramped = play(other_engine, other)
    assert np.abs(ramped[:, : n // 5 - BLOCK] - first[:, : n // 5 - BLOCK]).max() < 1e-4
    assert loud(ramped[:, n // 5 + 2 * BLOCK:]) < 0.01 * loud(first[:, n // 5 + 2 * BLOCK:])
    assert loud(first[:, n // 5 + 2 * BLOCK:]) > 0


def bounce(state):
    """Six notes, with another seed and Generate automated between the third and the fourth: what each sounds like."""
    engine, plugin = load(sys.argv[1])
    plugin.load_state(state)
    # No sound of one note reaches into the next.
    apart, notes = 3.5, 6
    change = int(2.6 * apart * RATE)
    for k in range(notes):
        plugin.add_midi_note(36, 100, apart * k + 0.1, 0.2)
    for name, before, after in (("Pad 1 Seed", 1 / 9999, 123 / 9999), ("Pad 1 Generate", 0.0, 1.0)):
        values = np.full(int(apart * notes * RATE), before, np.float32)
        values[change - (0 if after == 1.0 else 2 * BLOCK):] = after
        plugin.set_automation(names[name], values)
    engine.render(apart * notes)
    sound = engine.get_audio().copy()
    return [sound[:, int(apart * k * RATE):][:, :RATE] for k in range(notes)]


with tempfile.NamedTemporaryFile() as file:
    plugin.save_state(file.name)
    bounces = [bounce(file.name) for _ in range(6)]
notes = bounces[0]
assert (notes[0] == notes[2]).all() and (notes[3] == notes[5]).all() and (notes[2] != notes[3]).any(), (
    "the new sound is not there at the first note after its trigger")
assert all((a == b).all() for other in bounces for a, b in zip(notes, other)), "a bounce is not like another"

picture = sys.argv[2]


def xdotool(*arguments):
    return subprocess.run(["xdotool", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def look():
    time.sleep(3)
    window = xdotool("getactivewindow")
    # A click on a pad leaves the keyboard to the host's window.
    xdotool("mousemove", "--window", window, "150", "400", "click", "1")
    time.sleep(0.5)
    focus.append((window, xdotool("getwindowfocus", "-f")))
    subprocess.run(["import", "-window", "root", picture], check=True)
    xdotool("key", "alt+F4")


focus = []
for _ in range(3):
    looking = threading.Thread(target=look)
    looking.start()
    plugin.open_editor()
    looking.join()
    # The host does not play while it shows the window: a pad that was clicked is not heard later.
    assert (play(engine, plugin) == first).all(), "it is another instrument afterwards"
assert all(window == keyboard for window, keyboard in focus), f"a click took the keyboard: {focus}"
colors = subprocess.run(["identify", "-format", "%k", picture], check=True, capture_output=True)
assert int(colors.stdout) > 100, f"the window shows {colors.stdout} colors"
print(f"good; audio, projects, automation and bounces hold; the window is in {picture}")
