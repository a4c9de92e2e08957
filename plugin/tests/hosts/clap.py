"""A CLAP host of our own: loads the plugin as a host does, and holds it to what hosts rely on.

    python3 plugin/tests/hosts/clap.py PLUGIN [--soak SECONDS] [--kits FOLDER]

PLUGIN is a bundle's .clap file or the shared library in it. With --kits it only makes fresh kits, and writes 64
sounds of each drum as FOLDER/CLASS/NUMBER.wav, as the instrument plays them: to be judged like any folder. A debug
build aborts when `process` allocates.
Needs nothing but Python. Ends with 0 if all held.
"""

import argparse
import ctypes as c
import json
import math
import os
import random
import resource
import struct as binary
import sys
import time
import wave

# The interface, as version 1.2 of CLAP's headers has it.

P, U16, U32, U64, I16, I32, I64, F64, Bool = (
    c.c_void_p, c.c_uint16, c.c_uint32, c.c_uint64, c.c_int16, c.c_int32, c.c_int64, c.c_double, c.c_bool)
F = c.CFUNCTYPE


def struct(name, fields):
    return type(name, (c.Structure,), {"_fields_": fields})


Version = struct("Version", [("major", U32), ("minor", U32), ("revision", U32)])
Entry = struct("Entry", [("version", Version), ("init", F(Bool, c.c_char_p)), ("deinit", F(None)),
                         ("get_factory", F(P, c.c_char_p))])
Descriptor = struct("Descriptor", [("version", Version)] + [(n, c.c_char_p) for n in (
    "id", "name", "vendor", "url", "manual_url", "support_url", "plugin_version", "description")] + [
        ("features", c.POINTER(c.c_char_p))])
Host = struct("Host", [("version", Version), ("data", P)] + [(n, c.c_char_p) for n in (
    "name", "vendor", "url", "host_version")] + [("get_extension", F(P, P, c.c_char_p))] + [
        (n, F(None, P)) for n in ("request_restart", "request_process", "request_callback")])
Factory = struct("Factory", [("count", F(U32, P)), ("descriptor", F(c.POINTER(Descriptor), P, U32)),
                             ("create", F(P, P, c.POINTER(Host), c.c_char_p))])
Plugin = struct("Plugin", [
    ("descriptor", c.POINTER(Descriptor)), ("data", P), ("init", F(Bool, P)), ("destroy", F(None, P)),
    ("activate", F(Bool, P, F64, U32, U32)), ("deactivate", F(None, P)), ("start_processing", F(Bool, P)),
    ("stop_processing", F(None, P)), ("reset", F(None, P)), ("process", F(I32, P, P)),
    ("get_extension", F(P, P, c.c_char_p)), ("on_main_thread", F(None, P))])
Header = struct("Header", [("size", U32), ("time", U32), ("space", U16), ("type", U16), ("flags", U32)])
Note = struct("Note", [("header", Header), ("id", I32), ("port", I16), ("channel", I16), ("key", I16),
                       ("velocity", F64)])
Expression = struct("Expression", [("header", Header), ("expression", I32), ("id", I32), ("port", I16),
                                   ("channel", I16), ("key", I16), ("value", F64)])
Value = struct("Value", [("header", Header), ("param", U32), ("cookie", P), ("id", I32), ("port", I16),
                         ("channel", I16), ("key", I16), ("value", F64)])
InEvents = struct("InEvents", [("ctx", P), ("size", F(U32, P)), ("get", F(P, P, U32))])
OutEvents = struct("OutEvents", [("ctx", P), ("push", F(Bool, P, c.POINTER(Header)))])
AudioBuffer = struct("AudioBuffer", [("data32", c.POINTER(c.POINTER(c.c_float))), ("data64", P),
                                     ("channels", U32), ("latency", U32), ("constant", U64)])
Process = struct("Process", [
    ("steady_time", I64), ("frames", U32), ("transport", P), ("inputs", P),
    ("outputs", c.POINTER(AudioBuffer)), ("input_count", U32), ("output_count", U32),
    ("in_events", c.POINTER(InEvents)), ("out_events", c.POINTER(OutEvents))])
ParamInfo = struct("ParamInfo", [("id", U32), ("flags", U32), ("cookie", P), ("name", c.c_char * 256),
                                 ("module", c.c_char * 1024), ("min", F64), ("max", F64), ("default", F64)])
Params = struct("Params", [
    ("count", F(U32, P)), ("info", F(Bool, P, U32, c.POINTER(ParamInfo))), ("value", F(Bool, P, U32, P)),
    ("to_text", F(Bool, P, U32, F64, c.c_char_p, U32)), ("to_value", F(Bool, P, U32, c.c_char_p, P)),
    ("flush", F(None, P, c.POINTER(InEvents), c.POINTER(OutEvents)))])
Stream = struct("Stream", [("ctx", P), ("call", F(I64, P, P, U64))])
State = struct("State", [("save", F(Bool, P, c.POINTER(Stream))), ("load", F(Bool, P, c.POINTER(Stream)))])
PortInfo = struct("PortInfo", [("id", U32), ("name", c.c_char * 256), ("flags", U32), ("channels", U32),
                               ("type", c.c_char_p), ("pair", U32)])
Ports = struct("Ports", [("count", F(U32, P, Bool)), ("get", F(Bool, P, U32, Bool, c.POINTER(PortInfo)))])
Render = struct("Render", [("hard", F(Bool, P)), ("set", F(Bool, P, I32))])
Midi = struct("Midi", [("header", Header), ("port", U16), ("data", c.c_uint8 * 3)])
Tail = struct("Tail", [("get", F(U32, P))])
VoiceInfo = struct("VoiceInfo", [("voices", U32), ("capacity", U32), ("flags", U64)])
Voices = struct("Voices", [("get", F(Bool, P, c.POINTER(VoiceInfo)))])

ON, OFF, CHOKE, END, EXPRESSION, VALUE, MODULATION = range(7)
MIDI = 10
STEPPED, HIDDEN, AUTOMATABLE, MODULATABLE_PER_NOTE = 1, 4, 32, 2048
TUNING = 2


def event(kind, cls, frame, **fields):
    made = cls(**fields)
    made.header = Header(c.sizeof(cls), frame, 0, kind, 0)
    return made


def note_on(frame, key, velocity=1.0, id=-1):
    return event(ON, Note, frame, id=id, port=0, channel=0, key=key, velocity=velocity)


def note_off(frame, key, id=-1):
    return event(OFF, Note, frame, id=id, port=0, channel=0, key=key, velocity=0.0)


def set_value(frame, param, value):
    return event(VALUE, Value, frame, param=param, id=-1, port=-1, channel=-1, key=-1, value=value)


def midi(frame, *data):
    return event(MIDI, Midi, frame, port=0, data=(c.c_uint8 * 3)(*data))


class Library:
    def __init__(self, path):
        if os.path.isdir(path):
            inside = os.path.join(path, "Contents", "MacOS")
            path = os.path.join(inside, os.listdir(inside)[0])
        self.entry = Entry.in_dll(c.CDLL(path), "clap_entry")
        assert self.entry.init(path.encode()), "the entry refuses to begin"
        self.factory_address = self.entry.get_factory(b"clap.plugin-factory")
        self.factory = Factory.from_address(self.factory_address)
        none = F(None, P)(lambda _: None)
        self.no_extension = F(P, P, c.c_char_p)(lambda host, name: None)
        self.none = none
        self.host = Host(Version(1, 2, 0), None, b"audiodiff test host", b"audiodiff", b"", b"1",
                         self.no_extension, none, none, none)

    def descriptors(self):
        return [self.factory.descriptor(self.factory_address, i).contents
                for i in range(self.factory.count(self.factory_address))]


class Instance:
    def __init__(self, library, id, offline=True, rate=48000.0, block=512):
        self.library = library
        self.address = library.factory.create(library.factory_address, c.byref(library.host), id)
        assert self.address, f"{id}: not created"
        self.plugin = Plugin.from_address(self.address)
        assert self.plugin.init(self.address)
        self.params = self.extension(b"clap.params", Params)
        self.state = self.extension(b"clap.state", State)
        ports = self.extension(b"clap.audio-ports", Ports)
        self.ports = []
        for i in range(ports.count(self.address, False)):
            info = PortInfo()
            assert ports.get(self.address, i, False, c.byref(info))
            self.ports.append((info.name.decode(), info.channels))
        assert ports.count(self.address, True) == 0, "an instrument has no input"
        if offline:
            assert self.extension(b"clap.render", Render).set(self.address, 1)
        self.rate, self.most, self.active, self.time = rate, block, False, 0
        self.ended = []
        self.buffers = []
        for _, channels in self.ports:
            self.buffers.append([(c.c_float * 8192)() for _ in range(channels)])

    def extension(self, name, cls):
        address = self.plugin.get_extension(self.address, name)
        assert address, f"no {name.decode()}"
        return cls.from_address(address)

    def activate(self, rate=None, block=None):
        self.rate, self.most = rate or self.rate, block or self.most
        assert self.plugin.activate(self.address, self.rate, 1, self.most)
        assert self.plugin.start_processing(self.address)
        self.active = True
        return self

    def deactivate(self):
        self.plugin.stop_processing(self.address)
        self.plugin.deactivate(self.address)
        self.active = False

    def close(self):
        if self.active:
            self.deactivate()
        self.plugin.destroy(self.address)

    def event_lists(self, events):
        events = sorted(events, key=lambda e: e.header.time)
        size = F(U32, P)(lambda _: len(events))
        get = F(P, P, U32)(lambda _, i: c.addressof(events[i]))

        def push(_, header):
            kind = header.contents.type
            if kind == END:
                note = c.cast(header, c.POINTER(Note)).contents
                self.ended.append((self.time + note.header.time, note.key, note.id))
            return True
        push = F(Bool, P, c.POINTER(Header))(push)
        return InEvents(None, size, get), OutEvents(None, push), (events, size, get, push)

    def process(self, frames, events=()):
        """One block; for each output, its channels."""
        ins, outs, _keep = self.event_lists(events)
        outputs, keep = (AudioBuffer * len(self.ports))(), []
        for output, buffers in zip(outputs, self.buffers):
            pointers = (c.POINTER(c.c_float) * len(buffers))(
                *[c.cast(b, c.POINTER(c.c_float)) for b in buffers])
            keep.append(pointers)
            output.data32, output.channels = pointers, len(buffers)
        process = Process(self.time, frames, None, None, outputs, 0, len(self.ports),
                          c.pointer(ins), c.pointer(outs))
        status = self.plugin.process(self.address, c.addressof(process))
        assert status != 0, "process failed"
        self.time += frames
        return [[b[:frames] for b in buffers] for buffers in self.buffers]

    def play(self, frames, events=(), block=None, port=0):
        """Left and right of an output, one after the other, in blocks; events count from here."""
        block = block or self.most
        left, right = [], []
        for start in range(0, frames, block):
            now = min(block, frames - start)
            part = []
            for e in events:
                if start <= e.header.time < start + now:
                    e = type(e).from_buffer_copy(e)
                    e.header.time -= start
                    part.append(e)
            out = self.process(now, part)[port]
            left += out[0]
            right += out[1]
        return left + right

    def hear(self, pad):
        """A pad alone, 0.2 s of it; silent for 100 frames."""
        self.plugin.reset(self.address)
        return self.play(9600, [note_on(100, 36 + pad)])

    def set(self, frame, name, value):
        return set_value(frame, self.param(name), value)

    def infos(self):
        infos = []
        for i in range(self.params.count(self.address)):
            info = ParamInfo()
            assert self.params.info(self.address, i, c.byref(info))
            infos.append(info)
        return infos

    def param(self, name):
        return next(i for i in self.infos() if i.name.decode() == name).id

    def value(self, param):
        value = F64()
        assert self.params.value(self.address, param, c.addressof(value))
        return value.value

    def flush(self, *events):
        ins, outs, _keep = self.event_lists(events)
        self.params.flush(self.address, c.byref(ins), c.byref(outs))

    def save(self):
        parts = []

        def write(_, data, size):
            parts.append(c.string_at(data, size))
            return size
        write = F(I64, P, P, U64)(write)
        assert self.state.save(self.address, c.byref(Stream(None, write)))
        return b"".join(parts)

    def load(self, data):
        at = 0

        def read(_, into, size):
            nonlocal at
            part = data[at:at + size]
            c.memmove(into, part, len(part))
            at += len(part)
            return len(part)
        read = F(I64, P, P, U64)(read)
        return self.state.load(self.address, c.byref(Stream(None, read)))


def framed(state):
    """A state as the plugin's framework reads it, which may be compressed or not."""
    text = json.dumps(state).encode()
    return binary.pack("<Q", len(text)) + text


def state(settings, params={}, pads=()):
    """A project with these settings of the pads; pads that bring no sound get one."""
    project = json.dumps({"pads": list(pads), "settings": settings})
    return framed({"version": "", "params": params, "fields": {"project": project}})


def peak(samples):
    assert all(map(math.isfinite, samples)), "a sample is not a number"
    return max(map(abs, samples), default=0.0)


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def check_parameters(library, id):
    first, second = Instance(library, id), Instance(library, id)
    infos = first.infos()
    assert [i.id for i in infos] == [i.id for i in second.infos()], "ids change"
    assert len({i.id for i in infos}) == len(infos)
    assert len({i.name for i in infos}) == len(infos), "two parameters have one name"
    for info in infos:
        assert info.name and info.min < info.max and info.min <= info.default <= info.max, info.name
        assert abs(first.value(info.id) - info.default) < 1e-6, info.name
        text = c.create_string_buffer(256)
        for value in (info.min, info.default, info.max):
            assert first.params.to_text(first.address, info.id, value, text, 256), info.name
            back = F64()
            assert first.params.to_value(first.address, info.id, text.value, c.addressof(back)), (
                info.name, text.value)
            assert abs(back.value - value) <= 0.01 * (info.max - info.min), (info.name, text.value)
    modulated = [i for i in infos if i.flags & MODULATABLE_PER_NOTE]
    assert len(modulated) == 4 * 16
    voices = VoiceInfo()
    assert first.extension(b"clap.voice-info", Voices).get(first.address, c.byref(voices))
    assert voices.capacity == 64
    first.close()
    second.close()
    return len(infos)


def check_sounds(library, id):
    """Every pad sounds, twice the same, and the same again from a project."""
    first = Instance(library, id).activate()
    pads = [first.hear(pad) for pad in range(16)]
    assert all(peak(pad) > 0.01 for pad in pads), [peak(pad) for pad in pads]
    assert all(x == 0.0 for x in pads[0][:100]), "a note begins at its frame"
    saved = first.save()
    assert len(saved) < 3_000_000, f"sixteen pads take {len(saved)} bytes"

    again = Instance(library, id).activate()
    same = [again.hear(pad) for pad in range(16)]
    assert same == pads, "the same seeds made other sounds"

    # Into an instance that runs, one that does not run yet, and one with other blocks.
    changed = again.param("Pad 1 Seed"), again.param("Pad 1 Generate")
    again.play(512, [set_value(0, changed[0], 77), set_value(0, changed[1], 1)])
    start = time.time()
    while True:
        if again.hear(0) != pads[0]:
            break
        assert time.time() - start < 60, "a trigger made no new sound"
        time.sleep(0.05)
    assert again.load(saved)
    assert again.hear(0) == pads[0], "a project that is loaded sounds different"
    fresh = Instance(library, id, offline=False)
    assert fresh.load(saved)
    fresh.activate(block=8192)
    for pad in (0, 7, 15):
        assert fresh.hear(pad) == pads[pad]
    for instance in (first, again, fresh):
        instance.close()
    return saved


def check_damage(library, id, saved):
    """A project that others damaged loads or is refused; the sounds there go on."""
    instance = Instance(library, id)
    assert instance.load(saved)
    instance.activate()
    before = instance.hear(0)
    dice = random.Random(1)
    for i in range(40):
        damaged = bytearray(saved[:dice.randrange(len(saved))] if i % 2 else saved)
        for _ in range(dice.randrange(1, 20)):
            if damaged:
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        instance.load(bytes(damaged))
        peak(instance.play(2000, [note_on(0, 36 + i % 16)]))
    assert instance.load(saved)
    assert instance.hear(0) == before
    instance.close()


def check_events(library, id, saved):
    def fresh():
        instance = Instance(library, id)
        assert instance.load(saved)
        return instance.activate()

    # A parameter changes at its frame, in whatever blocks.
    one, two = fresh(), fresh()
    gain = one.param("Pad 1 Gain")
    plain = one.play(4800, [note_on(0, 36)])
    louder = two.play(4800, [note_on(0, 36), set_value(1203, gain, 0.1)])
    differs = [i for i in range(4800) if plain[i] != louder[i]]
    assert 1203 <= differs[0] < 1203 + 64, differs[:1]
    one.close(), two.close()

    # Modulation and expression reach the voice they name and no other.
    for alter in (
        lambda i, id: event(MODULATION, Value, 0, param=i.param("Pad 3 Pitch"), id=id, port=-1, channel=-1,
                            key=-1, value=12.0),
        lambda i, id: event(EXPRESSION, Expression, 0, expression=TUNING, id=id, port=-1, channel=-1, key=-1,
                            value=12.0),
    ):
        heard = []
        for target in (None, 5, 6):
            instance = fresh()
            events = [note_on(0, 38, id=5)]
            if target:
                events.append(alter(instance, target))
            heard.append(instance.play(4800, events))
            instance.close()
        assert heard[0] == heard[2] and heard[0] != heard[1]

    # A note that is over is reported once.
    instance = fresh()
    instance.play(96000, [note_on(10, 36, id=9), note_off(20, 36, id=9)])
    assert [(key, id) for _, key, id in instance.ended] == [(36, 9)], instance.ended
    instance.close()


def check_blocks_and_rates(library, id, saved):
    whole = None
    for block in (1, 17, 480, 512, 8192):
        instance = Instance(library, id, block=block)
        assert instance.load(saved)
        instance.activate()
        heard = instance.play(2000, [note_on(5, 36), note_on(700, 46), note_on(900, 42)])
        whole = whole or heard
        assert heard == whole, block
        instance.close()
    instance = Instance(library, id)
    assert instance.load(saved)
    for rate in (22050.0, 44100.0, 48000.0, 88200.0, 96000.0, 192000.0):
        instance.activate(rate=rate)
        heard = instance.play(int(rate / 10), [note_on(0, 36)])
        assert peak(heard) > 0.01, rate
        instance.deactivate()
    instance.close()


def arrangement(instance, dice, frames):
    """Notes and triggers of a few pads that morph with each other, with their seeds and amounts, at any time."""
    pads, events = [dice.randrange(14) for _ in range(2)], []
    pads = pads + [pad + 1 for pad in pads]
    for _ in range(30):
        frame, pad = dice.randrange(frames), dice.choice(pads)
        name = f"Pad {pad + 1} "
        kind = dice.choice(("note", "note", "Generate", "Vary", "Morph", "Seed", "Morph amount"))
        if kind == "note":
            events.append(note_on(frame, 36 + pad))
            continue
        value = {"Seed": dice.randrange(5), "Morph amount": dice.random()}.get(kind, 1.0)
        events.append(instance.set(frame, name + kind, value))
        if kind in ("Generate", "Vary", "Morph"):
            events.append(instance.set(min(frame + 1, frames - 1), name + kind, 0.0))
    if dice.random() < 0.2:
        events.append(instance.set(dice.randrange(frames), "Generate all", 1.0))
    return events


def check_bounces(library, id, saved, projects):
    """An automated Generate is heard at the first note after it, and a bounce is like another, bit for bit."""
    dice = random.Random(3)
    for project in range(projects):
        seed = dice.random()

        def render(block):
            instance = Instance(library, id, block=block)
            assert instance.load(saved)
            instance.activate()
            frames = 48_000
            heard = instance.play(frames, arrangement(instance, random.Random(seed), frames))
            instance.close()
            return heard
        first = render(512)
        assert peak(first) > 0.01, "nothing is heard"
        for block in (512, 512, 512, 64, 8192):
            assert render(block) == first, f"block {block}: another bounce of triggers of all kinds"

        pad, seed = dice.randrange(16), dice.randrange(100, 9999)
        trigger, note = dice.randrange(4800), dice.randrange(4800)
        trigger, note = sorted((trigger, note + 4800)) if project else (0, 1)

        def bounce(block):
            instance = Instance(library, id, block=block)
            assert instance.load(saved)
            instance.activate()
            name = f"Pad {pad + 1} "
            before = instance.play(9600, [note_on(note, 36 + pad)])
            instance.plugin.reset(instance.address)
            events = [instance.set(trigger, name + "Seed", seed), instance.set(trigger, name + "Generate", 1.0),
                      note_on(note, 36 + pad), instance.set(note + 1, name + "Generate", 0.0)]
            after = instance.play(9600, events)
            instance.close()
            return before, after
        before, after = bounce(512)
        assert before != after and peak(after) > 0.01, "the new sound is not there at the next note"
        for block in (512, 512, 512, 64, 8192):
            assert bounce(block) == (before, after), f"block {block}: another bounce"


def check_pending(library, id, saved):
    """A sound that is being made when a project is saved is there when it is opened."""
    instance = Instance(library, id)
    assert instance.load(saved)
    change = [instance.set(0, "Pad 1 Seed", 777), instance.set(0, "Pad 1 Generate", 1)]
    instance.activate().flush(*change)
    early = instance.save()
    made = instance.hear(0)
    late = instance.save()
    instance.close()
    for state in (early, late):
        again = Instance(library, id)
        assert again.load(state)
        assert again.activate().hear(0) == made, "the sound is lost"
        again.close()


def check_triggers(library, id, saved):
    """What a person made of a sound stays, whatever a host writes to the triggers."""
    instance = Instance(library, id)
    assert instance.load(saved)
    plain = instance.activate().hear(0)
    instance.flush(instance.set(0, "Pad 1 Vary", 1))
    varied = instance.hear(0)
    assert varied != plain
    instance.flush(instance.set(0, "Pad 1 Vary", 0))
    for value in (1, 0, 1):
        instance.flush(instance.set(0, "Pad 1 Generate", value), instance.set(0, "Generate all", value))
        assert instance.hear(0) == varied, "a trigger destroyed a variation"
    instance.flush(*[set_value(0, info.id, info.default) for info in instance.infos()])
    # Defaults come back a last bit off.
    off = max(abs(a - b) for a, b in zip(instance.hear(0), varied))
    assert off < 1e-4 * peak(varied), "a reset of the parameters destroyed a variation"
    instance.close()


def check_wheels(library, id):
    """Pedal, wheel and panic, and how long a note may be heard."""
    def fresh():
        instance = Instance(library, id)
        assert instance.load(state([{"mode": "loop"}], {"release_1": {"f32": 5.0}}))
        return instance.activate()

    def later(instance, *events):
        instance.play(24000, [note_on(0, 36), *events])
        return peak(instance.play(4800))
    cases = [([], True), ([note_off(10, 36)], False), ([midi(0, 0xB0, 64, 127), note_off(10, 36)], True),
             ([midi(0, 0xB0, 64, 127), note_off(10, 36), midi(20, 0xB0, 64, 0)], False),
             ([midi(100, 0xB0, 123, 0)], False), ([midi(100, 0xB0, 120, 0)], False),
             ([midi(100, 0xB1, 120, 0)], True)]
    for events, sounds in cases:
        instance = fresh()
        assert (later(instance, *events) > 1e-4) == sounds, [bytes(e) for e in events]
        instance.close()
    instance = fresh()
    plain = instance.play(4800, [note_on(0, 36)])
    instance.plugin.reset(instance.address)
    bent = instance.play(4800, [midi(0, 0xE0, 0, 127), note_on(0, 36)])
    assert plain != bent, "the wheel bends nothing"
    instance.plugin.reset(instance.address)
    assert instance.play(4800, [note_on(0, 36)]) == plain, "a reset leaves the wheel where it was"
    tail = instance.extension(b"clap.tail", Tail).get(instance.address)
    assert 0.05 * instance.rate < tail < 31 * instance.rate, tail
    instance.close()


def check_outputs(library, id):
    """All pads are on the main output, until they are given their own."""
    instance = Instance(library, id).activate()
    heard = [max(map(peak, output)) for output in instance.process(512, [note_on(0, 36), note_on(0, 40)])]
    assert heard[0] > 0.01 and max(heard[1:]) == 0.0, heard
    instance.close()
    instance = Instance(library, id)
    assert instance.ports == [("Out", 2)] + [(f"Pad {i + 1}", 2) for i in range(16)], instance.ports
    assert instance.load(state([{"output": "own"}] * 16))
    instance.activate()
    heard = [[peak(channel) for channel in output]
             for output in instance.process(512, [note_on(0, 36), note_on(0, 40)])]
    sounding = [i for i, output in enumerate(heard) if max(output) > 0]
    assert sounding == [1, 5], sounding
    instance.close()


def check_old_projects(library, id):
    """What were parameters in 0.1 is as it was."""
    def later(state):
        instance = Instance(library, id)
        assert instance.load(state)
        instance.activate()
        early = instance.play(4800, [note_on(0, 36)])
        instance.play(24000)
        late = peak(instance.play(4800))
        saved = instance.save()
        instance.close()
        return early, late, saved
    new = state([{"mode": "loop", "class": {"number": 1}, "choke": 0}], {"seed_1": {"i32": 5}})
    old = {"class_1": {"i32": 3}, "mode_1": {"string": "loop"}, "choke_1": {"i32": 0}, "seed_1": {"i32": 5}}
    old = framed({"version": "0.1.0", "params": old, "fields": {}})
    (a, late_a, saved), (b, late_b, _) = later(new), later(old)
    assert a == b and peak(a) > 0.01 and late_a == late_b > 1e-4, (late_a, late_b)
    plain = later(state([]))
    assert plain[0] != a and plain[1] != late_a
    assert later(saved)[:2] == (a, late_a)


def check_many(library, id):
    """A hundred instances come and go while sounds are being made."""
    def round(n):
        for _ in range(n):
            instances = [Instance(library, id, offline=False).activate() for _ in range(5)]
            for instance in instances:
                instance.process(64, [note_on(0, 36)])
            time.sleep(0.02)
            for instance in instances:
                instance.close()
    round(4)
    before = memory()
    round(20)
    grown = memory() - before
    assert grown < 16e6, f"a hundred instances left {grown / 1e6:.0f} MB behind"
    return grown


def soak(library, id, saved, seconds):
    """A host may do anything at any time."""
    dice = random.Random(2)
    end = time.time() + seconds
    instance = Instance(library, id, offline=False).activate()
    infos = [i for i in instance.infos() if not i.flags & HIDDEN]
    blocks = 0
    while time.time() < end:
        frames = 1 + dice.randrange(dice.choice([1, 64, 512, 8192]))
        frames = min(frames, instance.most)
        events = []
        for _ in range(dice.randrange(12)):
            frame, key, id_ = dice.randrange(frames), dice.randrange(128), dice.randrange(-1, 40)
            info = dice.choice(infos)
            kind = dice.randrange(6)
            if kind < 2:
                events.append(note_on(frame, key, dice.random(), id_))
            elif kind == 2:
                events.append(note_off(frame, key, id_))
            elif kind == 3:
                value = info.min + (info.max - info.min) * dice.random()
                events.append(set_value(frame, info.id, round(value) if info.flags & STEPPED else value))
            elif kind == 4 and info.flags & MODULATABLE_PER_NOTE:
                events.append(event(MODULATION, Value, frame, param=info.id, id=id_, port=-1, channel=-1,
                                    key=-1, value=(info.max - info.min) * (dice.random() - 0.5)))
            else:
                events.append(event(EXPRESSION, Expression, frame, expression=dice.randrange(7), id=id_,
                                    port=0, channel=0, key=key, value=dice.random()))
        assert peak(sum(instance.process(frames, events)[0], [])) < 1e4
        blocks += 1
        chance = dice.randrange(400)
        if chance == 0:
            assert instance.load(saved)
        elif chance == 1:
            instance.load(instance.save())
        elif chance == 2:
            instance.plugin.reset(instance.address)
        elif chance == 3:
            instance.deactivate()
            instance.activate(dice.choice([22050.0, 44100.0, 48000.0, 192000.0]), dice.choice([64, 512, 8192]))
        elif chance == 4:
            instance.close()
            instance = Instance(library, id, offline=False).activate()
    instance.close()
    return blocks


DRUMS = ["kick", "snare", "clap", "rim", "hat_closed", "hat_open", "tom", "cymbal", "perc"]


def write_kits(library, id, folder, each=64, rate=44100):
    """`each` sounds of every drum, made and played by the instrument, pad by pad."""
    wanted = [(drum, number) for drum in DRUMS for number in range(each)]
    for start in range(0, len(wanted), 16):
        batch = wanted[start:start + 16]
        # An offline rendering waits for the sounds that are asked for.
        instance = Instance(library, id, rate=float(rate))
        assert instance.load(state(
            [{"class": {"label": drum}, "choke": 0} for drum, _ in batch],
            {f"seed_{pad + 1}": {"i32": 1000 + number} for pad, (_, number) in enumerate(batch)}))
        instance.activate()
        for pad, (drum, number) in enumerate(batch):
            instance.plugin.reset(instance.address)
            left, right = [], []
            instance.ended.clear()
            while not instance.ended and len(left) < 10 * rate:
                events = [] if left else [note_on(0, 36 + pad)]
                block = instance.process(512, events)[0]
                left += block[0]
                right += block[1]
            level = max(peak(left), peak(right))
            assert level > 0.01, (drum, number)
            last = max(i for i in range(len(left)) if left[i] != 0.0 or right[i] != 0.0)
            path = os.path.join(folder, drum, f"{number:03}.wav")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with wave.open(path, "wb") as file:
                file.setnchannels(2)
                file.setsampwidth(2)
                file.setframerate(rate)
                scaled = [round(32767 * 0.9 / level * x) for i in range(last + 1) for x in (left[i], right[i])]
                file.writeframes(binary.pack(f"<{len(scaled)}h", *scaled))
        instance.close()
    return len(wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plugin")
    parser.add_argument("--soak", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--bounces", type=int, default=2, metavar="PROJECTS")
    parser.add_argument("--kits", metavar="FOLDER")
    options = parser.parse_args()
    library = Library(options.plugin)
    names = {d.id: d.name.decode() for d in library.descriptors()}
    print(f"plugins: {', '.join(names.values())}")
    stereo, multi = (i for i in sorted(names, key=len))
    if options.kits:
        print(f"{write_kits(library, stereo, options.kits)} sounds in {options.kits}")
        library.entry.deinit()
        return

    start = time.time()
    instance = Instance(library, stereo, offline=False).activate()
    loaded = time.time() - start
    while peak(instance.play(512, [note_on(0, 36)])) == 0.0:
        assert time.time() - start < 60, "no sound came"
        time.sleep(0.002)
    print(f"loaded in {1e3 * loaded:.0f} ms, first sound after {time.time() - start:.2f} s")
    instance.close()

    print(f"parameters: {check_parameters(library, stereo)}")
    check_parameters(library, multi)
    saved = check_sounds(library, stereo)
    print(f"sounds and projects hold; a project with sixteen pads takes {len(saved)} bytes")
    check_damage(library, stereo, saved)
    check_events(library, stereo, saved)
    check_blocks_and_rates(library, stereo, saved)
    check_outputs(library, multi)
    check_old_projects(library, stereo)
    print("damage, events, blocks, rates and outputs hold")
    check_bounces(library, stereo, saved, options.bounces)
    check_pending(library, stereo, saved)
    check_triggers(library, stereo, saved)
    check_wheels(library, stereo)
    print("bounces, pending sounds, triggers, pedals and wheels hold")
    grown = check_many(library, stereo)
    print(f"a hundred instances came and went; memory grew by {grown / 1e6:.1f} MB")
    for id in (stereo, multi):
        print(f"{names[id]}: {soak(library, id, saved, options.soak)} blocks of anything")
    library.entry.deinit()


if __name__ == "__main__":
    # With an arena for each thread, what malloc keeps for later looks like a leak.
    if "MALLOC_ARENA_MAX" not in os.environ:
        os.execve(sys.executable, [sys.executable] + sys.argv, os.environ | {"MALLOC_ARENA_MAX": "1"})
    main()
