#!/usr/bin/env python3
"""Goes a person's way through the real window: plugin/tests/hosts/person.py PROGRAM [PICTURES]

PROGRAM is the instrument without a host (cargo build --features standalone -p audiodiff-plugin). Opens it, takes a
sound from the ring, morphs two pads, drops a sound of another window on a pad, exports the kit as SFZ, saves it, closes
and opens the program again: the pads must sound as they did, and the kit must bring them back. Then it plays at random for
SOAK seconds (10), and measures the idle window. PICTURES is a folder for pictures of the states on the way. Needs xvfb,
xdotool, openbox, imagemagick and Mesa's software renderer; ends with 0 if all held.
"""

import glob
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

WIDTH, HEIGHT = 1040, 712
# Places in a window of this size, in points.
TABS = {"Pads": (35, 74), "Ring": (86, 74), "Morph": (141, 74), "Map": (191, 74)}
KIT, SAVE, NEXT = (505, 32), (647, 32), (397, 32)


def pad(number):
    """The middle of a pad, from 1 on."""
    row, column = divmod(number - 1, 4)
    return 12 + 432 / 4 * (column + 0.5), 92 + (616 - 92 - 60) / 4 * (3.5 - row)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Window:
    """One program on the screen, with a home of its own."""

    def __init__(self, program, home, x):
        self.program, self.home, self.x = program, home, x
        config = f"{home}/config/audiodiff"
        if not os.path.exists(config):
            os.makedirs(config)
            with open(f"{config}/plugin.json", "w") as file:
                json.dump({"window": [WIDTH, HEIGHT], "threads": 2}, file)
        os.makedirs(f"{home}/bin", exist_ok=True)
        # Stands for the system's dialog: what is picked is always the same.
        with open(f"{home}/bin/zenity", "w") as file:
            file.write(f"#!/bin/sh\nsleep 0.5\necho {home}/picked\n")
        os.chmod(f"{home}/bin/zenity", 0o755)
        os.makedirs(f"{home}/picked", exist_ok=True)
        self.open()

    def open(self):
        known = set(self.windows())
        environment = {
            **os.environ,
            "XDG_CONFIG_HOME": f"{self.home}/config",
            "XDG_DATA_HOME": f"{self.home}/data",
            "XDG_CACHE_HOME": f"{self.home}/cache",
            "PATH": f"{self.home}/bin:{os.environ['PATH']}",
            "LIBGL_ALWAYS_SOFTWARE": "1",
        }
        environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        log = open(f"{self.home}/log", "a")
        command = [self.program, "--backend", "dummy"]
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until("a window opens", lambda: set(self.windows()) - known)
        (self.id,) = set(self.windows()) - known
        time.sleep(0.5)
        run("xdotool", "windowmove", "--sync", self.id, str(self.x), "0")
        time.sleep(1.0)

    @staticmethod
    def windows():
        found = subprocess.run(["xdotool", "search", "--name", "^audiodiff"], capture_output=True, text=True)
        return found.stdout.split()

    def move(self, to):
        run("xdotool", "mousemove", "--window", self.id, "--", str(round(to[0])), str(round(to[1])))

    def click(self, at, button="1"):
        self.move(at)
        time.sleep(0.15)
        run("xdotool", "click", button)
        time.sleep(0.4)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert code in (0, -signal.SIGTERM), f"it ended with {code}"

    def project(self):
        """The project as it is in the program's file, which it writes every few seconds."""
        with open(f"{self.home}/data/audiodiff/standalone.json") as file:
            state = json.load(file)
        return json.loads(state["fields"]["project"])

    def sounds(self):
        return [sound and {key: sound[key] for key in sound if key != "asked"} for sound in self.project()["pads"]]

    def picture(self, name):
        if PICTURES:
            run("import", "-window", self.id, f"{PICTURES}/{name}.png")

    def cpu(self, seconds):
        """The share of a core that it takes."""
        def ticks():
            with open(f"/proc/{self.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        before = ticks()
        time.sleep(seconds)
        return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def until(what, holds, seconds=90):
    """Waits until something holds, and returns it."""
    end = time.time() + seconds
    while time.time() < end:
        try:
            found = holds()
        except (OSError, KeyError, ValueError):
            found = None
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"in vain: {what}")


def way(program, folder):
    window = Window(program, f"{folder}/one", 0)
    until("all pads have sounds", lambda: len([it for it in window.sounds() if it]) == 16)
    window.picture("pads")

    # The ring: one of eight is taken with a click.
    window.click(pad(1))
    first = window.sounds()[0]
    window.click(TABS["Ring"])
    time.sleep(4)
    window.picture("ring")
    window.click((334, 318))
    taken = until("a sound of the ring is on pad 1", lambda: (now := window.sounds()[0]) != first and now)
    assert taken["recipe"]["variation"] > 0, taken["recipe"]
    print("ring: taken")

    # The morph: a pad is carried to another.
    window.click(TABS["Pads"])
    window.move(pad(1))
    run("xdotool", "mousedown", "1")
    for step in range(1, 9):
        (x, y), (to_x, to_y) = pad(1), pad(8)
        window.move((x + (to_x - x) * step / 8, y + (to_y - y) * step / 8))
        time.sleep(0.05)
    run("xdotool", "mouseup", "1")
    time.sleep(4)
    window.picture("morph")

    def is_morph():
        # Before the middle is made, the nearest is an end.
        window.click((400, 532))
        time.sleep(4)
        return window.sounds()[7]["recipe"].get("morph")

    morph = until("a morph is on pad 8", is_morph)
    assert morph == 0.5, morph
    print("morph: taken")

    # A sound of another program, here a second window of ours, is dropped on pad 5.
    window.click(TABS["Pads"])
    other = Window(program, f"{folder}/two", WIDTH + 40)
    until("the other has sounds", lambda: len([it for it in other.sounds() if it]) == 16)
    other.move(pad(4))
    run("xdotool", "mousedown", "1")
    time.sleep(0.2)
    for x in (pad(4)[0] - 40, -20, -80):
        other.move((x, pad(4)[1]))
        time.sleep(0.4)
    x, y = pad(5)
    for step in (-60, -20, 0, 0, 0):
        window.move((x + step, y))
        time.sleep(0.3)
    run("xdotool", "mouseup", "1")
    time.sleep(1.5)
    window.picture("dropped")
    window.click((x + 40, y + 44))
    dropped = until("the file is on pad 5", lambda: window.sounds()[4]["recipe"].get("file") and window.sounds()[4])
    print("dropped:", dropped["recipe"]["file"])
    other.close()

    # Export and save.
    window.click(KIT)
    time.sleep(1)
    window.picture("kits")
    window.click((535, 474))
    time.sleep(0.5)
    window.picture("export")
    window.click((660, 500))
    exported = until("the kit is exported", lambda: glob.glob(f"{folder}/one/picked/*/*.sfz"))
    with open(exported[0]) as file:
        regions = file.read().count("<region>")
    assert regions == 16, regions
    print("exported:", os.path.basename(exported[0]))
    run("xdotool", "key", "Escape")
    window.click(SAVE)
    kit = until("the kit is saved", lambda: glob.glob(f"{folder}/one/data/audiodiff/kits/*"))
    print("saved:", os.path.basename(kit[0]))

    # Close and open: all as it was.
    time.sleep(6)
    saved = window.sounds()
    window.close()
    window.open()
    time.sleep(8)
    assert window.sounds() == saved, "the pads are others than before"
    print("opened again: the pads are as they were")
    # Another kit, and back.
    window.click(NEXT)
    until("other sounds are on the pads", lambda: all(a != b for a, b in zip(window.sounds(), saved)))
    for _ in range(30):
        window.click(NEXT)
        time.sleep(6)
        if window.sounds() == saved:
            break
    assert window.sounds() == saved, "the kit brings other sounds"
    print("kit: brings them back")

    soak(window)
    window.click(TABS["Pads"])
    window.move((1, 1))
    time.sleep(8)
    idle = window.cpu(10)
    print(f"idle window: {100 * idle:.1f} % of a core")
    assert idle < 0.2, idle
    window.close()


def soak(window):
    """Clicks, drags and wheels at random; the program must live on."""
    chance = random.Random(1)
    end = time.time() + float(os.environ.get("SOAK", "10"))
    while time.time() < end:
        at = chance.uniform(14, 1030), chance.uniform(60, 640)
        window.move(at)
        match chance.randrange(5):
            case 0:
                run("xdotool", "click", "1")
            case 1:
                run("xdotool", "click", chance.choice("45"))
            case 2:
                run("xdotool", "mousedown", "1")
                window.move((chance.uniform(14, 1030), chance.uniform(60, 640)))
                run("xdotool", "mouseup", "1")
            case 3:
                run("xdotool", "key", chance.choice(["q", "w", "a", "z", "1", "Escape", "Tab", "ctrl+z"]))
            case 4:
                run("xdotool", "click", "3")
                run("xdotool", "key", "Escape")
        assert window.process.poll() is None, "it has ended"
    print("soak: it lives")


def main():
    display = os.environ.get("AUDIODIFF_SCREEN")
    if display is None:
        # On a screen of its own.
        os.environ["AUDIODIFF_SCREEN"] = "1"
        command = [
            "xvfb-run", "-a", "-s", f"-screen 0 {2 * WIDTH + 80}x{HEIGHT + 60}x24",
            "sh", "-c", 'openbox & sleep 1; exec "$@"', "sh", sys.executable, *sys.argv,
        ]
        sys.exit(subprocess.call(command))
    with tempfile.TemporaryDirectory() as folder:
        try:
            way(os.path.abspath(sys.argv[1]), folder)
        except BaseException:
            for log in glob.glob(f"{folder}/*/log"):
                with open(log) as file:
                    print(log, file.read()[-3000:], file=sys.stderr)
            subprocess.run(["import", "-window", "root", "failed.png"])
            raise
    print("good")


PICTURES = sys.argv[2] if len(sys.argv) > 2 else None
if PICTURES:
    os.makedirs(PICTURES, exist_ok=True)
main()
