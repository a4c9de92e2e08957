"""Checks the VST3 in pedalboard, a host on JUCE: vst3_pedalboard.py target/bundled/audiodiff.vst3

Needs the Python packages pedalboard, mido and numpy.
"""

import sys
import time

import mido
import numpy as np
import pedalboard


def load_plugin(path):
    # It tries whether an instrument is ready with a key that plays no pad of ours.
    return pedalboard.load_plugin(path, plugin_name="audiodiff", initialization_timeout=0.2)


def play(plugin, key=36, rate=48000):
    notes = [
        mido.Message("note_on", note=key, velocity=100, time=0.1),
        mido.Message("note_off", note=key, time=1.0),
    ]
    return plugin(notes, duration=2.0, sample_rate=rate, num_channels=2, buffer_size=512)


def generate(plugin, seed):
    plugin.pad_1_seed = seed
    plugin.pad_1_generate = True
    # This host tells of the last value before a block alone.
    plugin([], duration=0.01, sample_rate=48000, num_channels=2, buffer_size=64)
    plugin.pad_1_generate = False


path = sys.argv[1]
start = time.time()
plugin = load_plugin(path)
print(f"loaded in {time.time() - start:.2f} s, {len(plugin.parameters)} parameters")
assert len(plugin.parameters) <= 260, "hosts that show all parameters in a row are given too many"
assert plugin.is_instrument

# It renders on the thread that loads it, and may wait for its sounds.
first = play(plugin)
assert np.abs(first).max() > 0, "a fresh instance is silent"
assert np.abs(first[:, :4700]).max() == 0, "silence comes before the note"
assert (play(plugin) == first).all(), "a note sounds the same each time"

state = plugin.raw_state
other = load_plugin(path)
play(other)
other.raw_state = state
assert (play(other) == first).all(), "a loaded project sounds the same"
assert other.raw_state == state, "saving again changes nothing"

generate(other, 77)
second = play(other)
assert (second != first).any(), "the new sound is not there at the next note"
reopened = load_plugin(path)
reopened.raw_state = other.raw_state
assert (play(reopened) == second).all(), "the new sound is stored, and not made anew"

for key in range(37, 52):
    assert np.abs(play(plugin, key)).max() > 0, key
assert np.abs(play(plugin, 52)).max() == 0, "no pad lies on this key"

# A host that asks for a sound, and then activates the plugin anew as for a bounce, gets that sound.
before = play(plugin, rate=44100)
generate(plugin, 78)
bounced = play(plugin, rate=44100)
assert (bounced != before).any(), "the rendering did not wait for the sound"
assert (play(plugin, rate=44100) == bounced).all(), "the sound changed afterwards"

chord = [mido.Message("note_on", note=30 + i % 24, velocity=127, time=i * 0.01) for i in range(150)]
many = plugin(chord, duration=3.0, sample_rate=44100, num_channels=2, buffer_size=100)
assert np.isfinite(many).all() and np.abs(many).max() > 0
full = len(plugin.raw_state)
assert full < 3e6, f"sixteen pads take {full} bytes"
print(f"good; sixteen pads take {full} bytes of a project")
