"""Checks the bundled VST3 in a real host: python plugin/tests/host.py target/bundled/audiodiff.vst3

Needs the Python packages pedalboard, mido and numpy.
"""

import sys
import time

import mido
import numpy as np
from pedalboard import load_plugin


def play(plugin, key=60):
    notes = [
        mido.Message("note_on", note=key, velocity=100, time=0.1),
        mido.Message("note_off", note=key, time=1.0),
    ]
    return plugin(notes, duration=2.0, sample_rate=48000, num_channels=2, buffer_size=512)


def wait_for(plugin, good):
    start = time.time()
    while not good(sound := play(plugin)):
        assert time.time() - start < 120, "no sound came"
        time.sleep(0.2)
    return sound


path = sys.argv[1]
plugin = load_plugin(path)
assert plugin.is_instrument

first = wait_for(plugin, lambda sound: np.abs(sound).max() > 0)
assert np.abs(first[:, :4700]).max() == 0, "silence comes before the note"
assert (play(plugin) == first).all(), "a note sounds the same each time"

state = plugin.raw_state
other = load_plugin(path)
play(other)
other.raw_state = state
assert (play(other) == first).all(), "a loaded project sounds the same"
assert other.raw_state == state, "saving again changes nothing"

other.seed = 7
other.generate = not other.generate
second = wait_for(other, lambda sound: (sound != first).any())
reopened = load_plugin(path)
reopened.raw_state = other.raw_state
assert (play(reopened) == second).all(), "the new sound is stored, and not made anew"

chord = [mido.Message("note_on", note=36 + i % 48, velocity=127, time=i * 0.01) for i in range(150)]
many = plugin(chord, duration=3.0, sample_rate=44100, num_channels=2, buffer_size=100)
assert np.isfinite(many).all() and np.abs(many).max() > 0
print(f"{path}: good; the project takes {len(state)} bytes")
