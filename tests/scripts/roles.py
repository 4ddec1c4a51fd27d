#!/usr/bin/env python3
"""README's sentences on the role of excitation, from the points of the figure that they stand below.

    python3 tests/scripts/roles.py            # does README say what the figure shows?
    python3 tests/scripts/roles.py --write    # make it say so, after a new figure (make figures)

The figure is senetd plot's, deploy/roles.svg: in a group for each block a curve of mean gates for
each class. It has to be of the demo model's present weights.
"""
import hashlib
import math
import re
import statistics
import sys
import textwrap
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURE, README = ROOT / "deploy/roles.svg", ROOT / "README.md"
WEIGHTS = ROOT / "weights/demo/model.safetensors"
SVG = "{http://www.w3.org/2000/svg}"
PLACE = re.compile(r"(!\[[^\]]*\]\(deploy/roles\.svg\)\n\n)(.*?)(?=\n\n)", re.DOTALL)
OPEN, CLOSED = 0.99, 0.01  # beyond these a gate counts as saturated


class Panel:
    """One block: {class: mean gates}, as drawn."""

    def __init__(self, group):
        self.name = group.find(f"{SVG}text").text.split()[0]
        frame = group.find(f"{SVG}rect").attrib
        top, height = float(frame["y"]), float(frame["height"])
        self.classes = {}
        for path in group.findall(f"{SVG}path"):
            numbers = [float(number) for number in re.findall(r"[-+.\de]+", path.get("d"))]
            self.classes[path.find(f"{SVG}title").text] = [
                1 - (y - top) / height for y in numbers[1::2]]
        self.channels = list(zip(*self.classes.values(), strict=True))

    def spread(self):
        """Standard deviation between the classes' means, root mean square over the channels."""
        return math.sqrt(statistics.fmean(statistics.pvariance(c) for c in self.channels))

    def share(self, good):
        return statistics.fmean(good(gate) for gates in self.channels for gate in gates)

    def distance(self, a, b):
        return math.dist(self.classes[a], self.classes[b]) / math.sqrt(len(self.channels))

    def pairs(self):
        """(distance, a, b) of every two classes, the nearest first."""
        names = list(self.classes)
        return sorted((self.distance(a, b), a, b)
                      for i, a in enumerate(names) for b in names[i + 1:])


def sentences(panels, photos):
    most, last = max(panels, key=Panel.spread), panels[-1]
    others = [f"{panel.spread():.3f} at {panel.name}" for panel in panels if panel is not most]
    (near, *nearest), (far, *farthest) = most.pairs()[0], most.pairs()[-1]
    opened, closed = (last.share(lambda gate: gate > OPEN), last.share(lambda gate: gate < CLOSED))
    first = (f"Classes are told apart most by the gates of {most.name}: their means spread by "
             f"{most.spread():.3f} there, against {', '.join(others[:-1])} and {others[-1]} "
             "(standard deviation between classes, root mean square over the channels drawn, "
             f"{photos} validation photos).")
    second = (f"At {most.name} {' and '.join(nearest)} lie nearest to each other, {near:.2f} "
              f"apart, {' and '.join(farthest)} farthest, {far:.2f} (root mean square over the "
              "channels).")
    third = f"At {last.name} {100 * opened:.0f} % of the means are above {OPEN}" + (
        ": its squeeze-and-excitation has learned to let nearly everything pass, as the paper "
        "saw in its last blocks, which it calls less important." if opened > 0.9 else
        f" and {100 * closed:.0f} % below {CLOSED}: it saturates in part, where the paper saw "
        "its last blocks close to one." if opened + closed > 0.5 else
        f" and {100 * closed:.0f} % below {CLOSED}: unlike the paper's last blocks, which were "
        "close to one, it still chooses.")
    return textwrap.fill(" ".join((first, second, third)), 112, break_on_hyphens=False)


def main():
    root = xml.etree.ElementTree.parse(FIGURE).getroot()
    made_of = root.find(f"{SVG}desc").text.rsplit(" ", 1)[1]
    if made_of != hashlib.sha256(WEIGHTS.read_bytes()).hexdigest():
        sys.exit("deploy/roles.svg is of other weights: make figures PHOTOS=...")
    photos = re.search(r"over (\d+) photos", root.find(f"{SVG}text").text)[1]
    text = sentences([Panel(group) for group in root.findall(f"{SVG}g")], photos)
    readme = README.read_text()
    found = PLACE.search(readme)
    if found is None:
        sys.exit("README.md does not show deploy/roles.svg with a paragraph after it")
    if "--write" in sys.argv[1:]:
        README.write_text(readme[:found.start(2)] + text + readme[found.end(2):])
    elif found[2] != text:
        sys.exit(f"README.md does not say what deploy/roles.svg shows, which is\n\n{text}")
    print(text)


main()
