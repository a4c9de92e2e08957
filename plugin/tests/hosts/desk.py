"""The instrument without a host on a screen of its own, as a person has it: windows, clicks, what they come to."""

import glob
import json
import os
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

    def __init__(self, program, home, x=0, **preferences):
        self.program, self.home, self.x = program, home, x
        preferences = {"window": [WIDTH, HEIGHT], "threads": 2, **preferences}
        self.scale = preferences.get("scale", 1.0)
        config = f"{home}/config/audiodiff"
        if not os.path.exists(config):
            os.makedirs(config)
            with open(f"{config}/plugin.json", "w") as file:
                json.dump(preferences, file)
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
        run("xdotool", "mousemove", "--window", self.id, "--", *(str(round(self.scale * x)) for x in to))

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

    def picture(self, path):
        """Takes a picture of the window alone."""
        run("import", "-window", self.id, path)

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


def on_a_screen(size, work):
    """Does `work` with a folder of its own, on a screen of this size that nobody sees. Ends the process."""
    if "AUDIODIFF_SCREEN" not in os.environ:
        os.environ["AUDIODIFF_SCREEN"] = "1"
        width, height = size
        command = [
            "xvfb-run", "-a", "-s", f"-screen 0 {width}x{height}x24",
            "sh", "-c", 'openbox & sleep 1; exec "$@"', "sh", sys.executable, *sys.argv,
        ]
        sys.exit(subprocess.call(command))
    with tempfile.TemporaryDirectory() as folder:
        try:
            work(folder)
        except BaseException:
            for log in glob.glob(f"{folder}/*/log"):
                with open(log) as file:
                    print(log, file.read()[-3000:], file=sys.stderr)
            subprocess.run(["import", "-window", "root", "failed.png"])
            raise
