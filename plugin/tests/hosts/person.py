#!/usr/bin/env python3
"""Goes a person's way through the real window: plugin/tests/hosts/person.py PROGRAM [PICTURES]

PROGRAM is the instrument without a host (cargo build --features standalone -p audiodiff-plugin). Opens it, takes a
sound from the ring, morphs two pads, drops a sound of another window on a pad, exports the kit as SFZ, saves it, closes
and opens the program again: the pads must sound as they did, and the kit must bring them back. Then it plays at random for
SOAK seconds (10), and measures the idle window. PICTURES is a folder for pictures of the states on the way. Needs xvfb,
xdotool, openbox, imagemagick and Mesa's software renderer; ends with 0 if all held.
"""

import glob
import os
import random
import sys
import time

from desk import HEIGHT, KIT, NEXT, SAVE, TABS, WIDTH, Window, on_a_screen, pad, run, until

PICTURES = sys.argv[2] if len(sys.argv) > 2 else None


def picture(window, name):
    if PICTURES:
        os.makedirs(PICTURES, exist_ok=True)
        window.picture(f"{PICTURES}/{name}.png")


def way(folder):
    program = os.path.abspath(sys.argv[1])
    window = Window(program, f"{folder}/one", 0)
    until("all pads have sounds", lambda: len([it for it in window.sounds() if it]) == 16)
    picture(window, "pads")

    # The ring: one of eight is taken with a click.
    window.click(pad(1))
    first = window.sounds()[0]
    window.click(TABS["Ring"])
    time.sleep(4)
    picture(window, "ring")
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
    picture(window, "morph")

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
    picture(window, "dropped")
    window.click((x + 40, y + 44))
    dropped = until("the file is on pad 5", lambda: window.sounds()[4]["recipe"].get("file") and window.sounds()[4])
    print("dropped:", dropped["recipe"]["file"])
    other.close()

    # Export and save.
    window.click(KIT)
    time.sleep(1)
    picture(window, "kits")
    window.click((535, 474))
    time.sleep(0.5)
    picture(window, "export")
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


on_a_screen((2 * WIDTH + 80, HEIGHT + 60), way)
print("good")
