"""Notes for players of exported kits, and what they made of them beside the sounds as we play them.

exports.py notes FILE          writes a MIDI file: a note at full velocity on each of the first seven keys
exports.py song KIT FILE       writes a song of Hydrogen with the same notes; KIT is the folder of the drumkit
exports.py compare WAV FOLDER  compares what was played with the exported folder of WAVs
"""

import re
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


def write_song(kit, path):
    """A beat a second, of 48 ticks."""
    text = (Path(kit) / "drumkit.xml").read_text()
    name = Path(kit).name
    components = re.search("<componentList>.*</componentList>", text, re.S).group()
    instruments = re.search("<instrumentList>.*</instrumentList>", text, re.S).group()
    # Where a song's sounds are.
    source = f"<drumkit>{name}</drumkit><drumkitLookup>1</drumkitLookup>"
    instruments = instruments.replace("</name>", f"</name>{source}")
    notes = "".join(
        f"<note><position>{round(48 * EVERY * i)}</position><leadlag>0</leadlag><velocity>1</velocity><pan>0</pan>"
        f"<pitch>0</pitch><key>C0</key><length>{round(48 * HELD) if key == GATE else -1}</length>"
        f"<instrument>{i}</instrument><note_off>false</note_off><probability>1</probability></note>"
        for i, key in enumerate(KEYS)
    )
    size = round(48 * EVERY * (len(KEYS) + 1))
    Path(path).write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<song><version>1.2.0</version><bpm>60</bpm><volume>1</volume>'
        "<metronomeVolume>0</metronomeVolume><name>keys</name><author/><notes/><license/>"
        "<loopEnabled>false</loopEnabled><patternModeMode>true</patternModeMode><mode>song</mode>"
        "<pan_law_type>RATIO_STRAIGHT_POLYGONAL</pan_law_type><humanize_time>0</humanize_time>"
        "<humanize_velocity>0</humanize_velocity><swing_factor>0</swing_factor>"
        f"<last_loaded_drumkit>{name}</last_loaded_drumkit><last_loaded_drumkit_name>{name}</last_loaded_drumkit_name>"
        f"{components}{instruments}<patternList><pattern><name>keys</name><info/><category/><size>{size}</size>"
        f"<denominator>4</denominator><noteList>{notes}</noteList></pattern></patternList><virtualPatternList/>"
        "<patternSequence><group><patternID>keys</patternID></group></patternSequence><ladspa/><BPMTimeLine/></song>"
    )


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


def likeness(played, sound):
    """Correlation, frames that it is late, and level in dB, at the first place where these are as good as anywhere."""
    found = []
    # A block of the player's, and a little.
    for late in range(1100):
        part = played[late : late + len(sound)]
        energies = np.vdot(part, part), np.vdot(sound, sound)
        if len(part) == len(sound) and energies[0] > 0:
            correlation = np.vdot(part, sound) / np.sqrt(energies[0] * energies[1])
            found.append((correlation, late, 10 * np.log10(energies[0] / energies[1])))
    # A dying tone is like itself a period later.
    best = max(found)[0]
    return next(it for it in found if it[0] > best - 0.002)


def compare(played, folder):
    played = read(played)
    worst = 1.0
    for i, key in enumerate(KEYS):
        found = []
        # Some players begin their turns with the second take.
        for name in Path(folder).glob(f"{i + 1:02d} *.wav"):
            sound = read(name)[: int(HELD * RATE)]
            if key == LOOP:
                # The end fades into the beginning where it is looped.
                sound = sound[: len(sound) - 500]
            found.append((*likeness(played[round(EVERY * i * RATE) :], sound), name.name))
        correlation, late, level, name = max(found)
        # Players are softer than the files, by what they please.
        first = level if i == 0 else first
        print(f"{name:24} correlation {correlation:.5f}, {level - first:+.2f} dB, {late} frames late")
        if key == GATE:
            assert correlation > 0.85, "the envelope is another"
        else:
            worst = min(worst, correlation)
            assert abs(level - first) < 0.5, level - first
    assert worst > 0.99, worst
    print(f"good; each correlates by {worst:.5f} or more")


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"notes": write_notes, "song": write_song, "compare": compare}[what](*arguments)
