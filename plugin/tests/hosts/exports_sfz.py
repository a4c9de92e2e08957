"""Notes for a player of SFZ, and what it made of them beside the sounds as we play them.

exports_sfz.py notes FILE          writes a MIDI file: a note at full velocity on each of the first seven keys
exports_sfz.py compare WAV FOLDER  compares what was played with the exported folder of WAVs
"""

import struct
import sys
import wave
from pathlib import Path

import numpy as np

RATE = 44100
KEYS = range(36, 43)
# Seconds from one note to the next, and how long each is held.
EVERY, HELD = 1.0, 0.9
# A note that ends with its key has the player's own envelope; what is looped is played once here.
GATE, LOOP = 40, 41


def write_notes(path):
    """120 quarter notes a minute, 480 ticks each: 960 ticks a second."""
    track, now = b"", 0

    def event(tick, data):
        nonlocal track, now
        delta, now = tick - now, tick
        digits = [delta & 127]
        while delta := delta >> 7:
            digits.insert(0, delta & 127 | 128)
        track += bytes(digits) + data

    for i, key in enumerate(KEYS):
        event(round(960 * EVERY * i), bytes([0x90, key, 127]))
        event(round(960 * (EVERY * i + HELD)), bytes([0x80, key, 0]))
    event(round(960 * EVERY * len(KEYS)), b"\xff\x2f\x00")
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480)
    Path(path).write_bytes(head + b"MTrk" + struct.pack(">I", len(track)) + track)


def read(path):
    """Channels of 16 or 24 bits, as two."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE, path
        width, count = file.getsampwidth(), file.getnchannels()
        data = np.frombuffer(file.readframes(file.getnframes()), np.uint8).reshape(-1, width)
    wide = np.zeros((len(data), 4), np.uint8)
    wide[:, 4 - width:] = data
    samples = wide.view("<i4")[:, 0].reshape(-1, count) / 2**31
    return np.repeat(samples, 2, axis=1) if count == 1 else samples


def compare(played, folder):
    played = read(played)
    worst = 1.0
    for i, key in enumerate(KEYS):
        [name] = [it for it in Path(folder).glob(f"{i + 1:02d} *.wav") if "take" not in it.name]
        sound = read(name)[: int(HELD * RATE)]
        if key == LOOP:
            # The end fades into the beginning where it is looped.
            sound = sound[: len(sound) - 500]
        at = round(EVERY * i * RATE)
        found = max(
            (
                np.vdot(part, sound) / np.sqrt(np.vdot(part, part) * np.vdot(sound, sound)),
                shift,
                np.sqrt(np.vdot(part, part) / np.vdot(sound, sound)),
            )
            # A block of the player's.
            for shift in range(0, 1100)
            for part in [played[at + shift : at + shift + len(sound)]]
            if len(part) == len(sound) and part.any()
        )
        correlation, shift, level = found
        print(f"{name.name:28} correlation {correlation:.5f}, {20 * np.log10(level):+.2f} dB, {shift} frames late")
        if key == GATE:
            assert correlation > 0.9, "the envelope is another"
        else:
            worst = min(worst, correlation)
    assert worst > 0.99, worst
    print(f"good; each correlates by {worst:.5f} or more")


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"notes": write_notes, "compare": compare}[what](*arguments)
