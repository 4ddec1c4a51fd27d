#!/usr/bin/env python3
"""The page in a real browser: photos in, numbers against /classify, views, files, accessibility.

Debian's Chromium is driven by Playwright, axe-core looks for barriers (`make test-browser`).
Screenshots of every view are left in --shots; --readme writes the one that README.md shows.
"""
import argparse
import base64
import csv
import io
import json
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
PATIENCE_MS = 120_000  # for a loaded machine
HOSTILE = '"><img src=x onerror=document.title=1>.jpg'
BLOCKS, CHANNELS = 16, 15104  # of SE-ResNet-50
OPENED = 8  # the block looked at in detail


class Daemon:
    """senetd on a free port."""

    def __init__(self, binary, weights):
        self.folder = tempfile.TemporaryDirectory()
        port_file = Path(self.folder.name, "port")
        self.log = open(Path(self.folder.name, "log"), "w+b")
        self.process = subprocess.Popen(
            [binary, "--weights", weights, "--listen", "127.0.0.1:0", "--port-file", port_file],
            stderr=self.log)
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not (port_file.exists() and port_file.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                sys.exit(f"senetd did not come up:\n{self.log.read().decode()}")
            time.sleep(0.1)
        self.base = f"http://127.0.0.1:{port_file.read_text().strip()}"

    def classify(self, path):
        request = urllib.request.Request(f"{self.base}/classify?topk=5", data=path.read_bytes())
        with urllib.request.urlopen(request, timeout=PATIENCE_MS / 1000) as answer:
            return json.load(answer)["results"][0]

    def reference(self):
        """Deviations of every block's gates, at least the least one; None without a profile."""
        try:
            with urllib.request.urlopen(f"{self.base}/reference", timeout=60) as answer:
                profile = json.load(answer)
        except urllib.error.HTTPError:
            return None
        return [[max(std, profile["least_std"]) for std in layer["std"]]
                for layer in profile["layers"]]

    def stop(self):
        self.process.terminate()
        status = self.process.wait(timeout=60)
        assert status == 0, f"senetd ended with status {status}"
        self.folder.cleanup()


class Window:
    """A page that must stay free of script errors and of requests to other hosts."""

    def __init__(self, browser, base, width, height, dark, shots):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=2 if width < 600 else 1,
            color_scheme="dark" if dark else "light", accept_downloads=True,
            has_touch=width < 600, reduced_motion="reduce")
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.base, self.shots, self.faults = base, shots, []
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("console", self.hear)
        self.page.on("request", self.see)
        self.page.goto(f"{base}/")
        self.page.wait_for_selector("body[data-ready]")

    def hear(self, message):
        # The browser tells of every refused upload, of routes that a model lacks, of loading.
        known = ("status of 4", "status of 503")
        if message.type == "error" and not any(text in message.text for text in known):
            self.faults.append(f"console: {message.text}")

    def see(self, request):
        if not request.url.startswith((self.base, "blob:", "data:")):
            self.faults.append(f"request to {request.url}")

    def shoot(self, name, full=True):
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=full)

    def drop(self, path):
        self.page.evaluate(
            """([name, data]) => {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));
                document.getElementById('intake').dispatchEvent(
                    new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
            }""", [path.name, base64.b64encode(path.read_bytes()).decode()])

    def choose(self, files):
        self.page.set_input_files("#files", files)

    def wait_done(self, count):
        expect(self.page.locator(".thumb input:enabled")).to_have_count(count, timeout=PATIENCE_MS)
        expect(self.page.locator("#strips > li")).to_have_count(BLOCKS)

    def tab(self, name):
        self.page.click(f"#tab-{name}")
        expect(self.page.locator(f"#view-{name}")).to_be_visible()

    def check_axe(self, where):
        violations = Axe().run(self.page).response["violations"]
        for v in violations:
            print(f"   axe: {where}: {v['impact']}: {v['id']}: {v['help']}: "
                  f"{[node['target'] for node in v['nodes']][:3]}")
        serious = [v["id"] for v in violations if v["impact"] in ("serious", "critical")]
        assert not serious, f"{where}: serious barriers {serious}"

    def close(self):
        self.context.close()
        assert not self.faults, self.faults


def percent(p):
    return float(f"{100 * p:.1f}") if p >= 0.1 else float(f"{100 * p:.2g}")


def check_top_k(page, selector, result):
    items = page.locator(f"{selector} > li")
    expect(items).to_have_count(len(result["top_k"]))
    for i, entry in enumerate(result["top_k"]):
        assert items.nth(i).locator(".label").text_content() == entry["label"]
        shown = float(items.nth(i).locator(".value").text_content().split()[0])
        assert abs(shown - percent(entry["probability"])) <= 0.1, (shown, entry)


def check_numbers(window, result, layer):
    window.tab("numbers")
    window.page.select_option("#numbers-block", str(layer))
    cells = window.page.locator("#numbers-scroll tbody tr td:nth-of-type(1)").all_text_contents()
    values = result["excitations"][layer]["values"]
    assert len(cells) == len(values), (len(cells), len(values))
    for cell, value in zip(cells, values):
        assert abs(float(cell) - value) <= 1e-4 * max(1, abs(value)), (cell, value)


def read_tooltip(window):
    expect(window.page.locator("#tooltip")).to_be_visible()
    return window.page.locator("#tooltip > div").all_text_contents()


def check_hover(window, result):
    """A pointer over a strip reads off a channel; so do the arrow keys, without the pointer."""
    canvas = window.page.locator("#strips canvas").nth(13)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 3, "y": 8})
    lines = read_tooltip(window)
    block = result["excitations"][13]
    assert lines[0].startswith(block["name"]), lines
    channel = int(lines[0].rsplit(" ", 1)[1])
    assert abs(float(lines[1].split()[1]) - block["values"][channel]) < 1e-2, lines
    window.page.mouse.move(0, 0)
    window.page.locator("#strips button").nth(2).focus()
    window.page.keyboard.press("ArrowDown")
    window.page.keyboard.press("End")
    by_key = read_tooltip(window)
    assert by_key[0].startswith(result["excitations"][3]["name"]), by_key
    assert window.page.locator("#status").text_content() == ", ".join(by_key)


def check_block(window):
    row = window.page.locator("#strips > li").nth(OPENED)
    row.locator("button.strip").press("Enter")
    expect(row.locator("button.strip")).to_have_attribute("aria-expanded", "true")
    expect(row.locator(".detail svg.chart").nth(1)).to_be_visible()
    assert row.locator(".detail rect.bin").count() > 10
    expect(row.locator(".ablation")).not_to_contain_text("Running the network", timeout=PATIENCE_MS)


def check_compare(window, first, second, scales):
    """Two photos side by side; each block's distance, in the profile's deviations if there is one."""
    window.tab("compare")
    page = window.page
    page.select_option("#compare-a", label=first[0].name)
    page.select_option("#compare-b", label=second[0].name)
    check_top_k(page, "#compare-topk-a", first[1])
    check_top_k(page, "#compare-topk-b", second[1])
    expect(page.locator("#compare-strips > li")).to_have_count(BLOCKS)
    for layer, stat in enumerate(page.locator("#compare-strips .stat").all_text_contents()):
        a, b = (photo[1]["excitations"][layer]["values"] for photo in (first, second))
        scale = scales[layer] if scales else [1] * len(a)
        squares = [((x - y) / s) ** 2 for x, y, s in zip(a, b, scale, strict=True)]
        assert abs(float(stat) - (sum(squares) / len(squares)) ** 0.5) < 2e-3, (layer, stat)


def save(window, kind):
    with window.page.expect_download() as got:
        window.page.click(f"#save-{kind}")
    return Path(got.value.path()).read_bytes()


def check_files(window, result):
    gates = [value for block in result["excitations"] for value in block["values"]]
    rows = list(csv.DictReader(io.StringIO(save(window, "csv").decode())))
    assert [float(row["gate"]) for row in rows] == gates or all(
        abs(float(row["gate"]) - gate) < 1e-4 for row, gate in zip(rows, gates, strict=True))
    data = save(window, "npy")
    size = struct.unpack_from("<H", data, 8)[0]
    assert data[:8] == b"\x93NUMPY\x01\x00" and (10 + size) % 64 == 0
    assert f"'shape': ({CHANNELS},)".encode() in data[10:10 + size]
    floats = struct.unpack_from(f"<{CHANNELS}f", data, 10 + size)
    assert all(abs(a - b) < 1e-4 for a, b in zip(floats, gates, strict=True))
    assert save(window, "png").startswith(b"\x89PNG")
    assert len(json.loads(save(window, "json"))["results"][0]["excitations"]) == BLOCKS


def check_curl(window, folder, daemon):
    """The line on the page does what it says."""
    line = window.page.locator("#curl").text_content()
    answer = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, check=True)
    assert len(json.loads(answer.stdout)["results"][0]["excitations"]) == BLOCKS, line
    assert daemon.base in line


def check_hostile(window):
    """A name that is markup stays text; what is no photo is refused with the daemon's words."""
    cat = (DATA / "cat.jpg").read_bytes()
    window.choose([{"name": HOSTILE, "mimeType": "image/jpeg", "buffer": cat},
                   {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": cat[:300]}])
    window.wait_done(4)
    expect(window.page.locator(".thumb.failed")).to_have_count(1)
    expect(window.page.locator("#notice")).to_contain_text("broken.jpg")
    window.page.locator(".thumb", has_text="onerror").locator("input").check(force=True)
    for view in ("attention", "compare", "classes", "numbers"):
        window.tab(view)
        assert window.page.locator('img[src="x"]').count() == 0
    assert "senetd" in window.page.title()


def on_a_desk(browser, daemon, shots, readme):
    window = Window(browser, daemon.base, 1280, 900, False, shots)
    window.shoot("desktop-empty")
    window.check_axe("empty")
    cat, coffee = DATA / "cat.jpg", DATA / "coffee.jpg"
    window.drop(cat)
    window.wait_done(1)
    result = daemon.classify(cat)
    check_top_k(window.page, "#topk", result)
    window.choose([str(coffee), str(DATA / "rocket.jpg")])
    window.wait_done(3)
    window.page.locator(".thumb", has_text="cat.jpg").locator("input").check(force=True)
    check_top_k(window.page, "#topk", result)
    check_hover(window, result)
    window.page.mouse.move(0, 0)
    check_curl(window, DATA, daemon)
    window.shoot("desktop-attention")
    check_block(window)
    window.shoot("desktop-block")
    window.check_axe("block")
    if readme:
        window.page.locator("#strips button.strip").nth(OPENED).blur()
        end = window.page.locator("#view-attention").bounding_box()
        top = window.page.evaluate("scrollY")
        window.page.screenshot(path=readme, type="jpeg", quality=85, full_page=True, clip={
            "x": 0, "y": 0, "width": 1280, "height": end["y"] + end["height"] + top + 20})
    check_compare(window, (cat, result), (coffee, daemon.classify(coffee)), daemon.reference())
    window.shoot("desktop-compare")
    window.check_axe("compare")
    window.tab("classes")
    expect(window.page.locator("#classes-charts svg.chart").first).to_be_visible()
    window.shoot("desktop-classes")
    window.check_axe("classes")
    check_numbers(window, result, 3)
    check_files(window, result)
    window.shoot("desktop-numbers")
    window.check_axe("numbers")
    expect(window.page.locator("#tiles .figure").first).not_to_have_text("")
    check_hostile(window)
    window.close()


def on_a_phone(browser, daemon, shots):
    window = Window(browser, daemon.base, 390, 844, True, shots)
    window.page.click("#sample")
    window.wait_done(1)
    window.shoot("phone-attention")
    window.check_axe("phone")
    wide = window.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{wide} pixels wider than the phone"
    check_block(window)
    window.choose([str(DATA / "rocket.jpg")])
    window.wait_done(2)
    window.shoot("phone-block")
    window.tab("compare")
    window.shoot("phone-compare")
    window.check_axe("phone, compare")
    wide = window.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{wide} pixels wider than the phone"
    window.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--senetd", default=ROOT / "build/senetd")
    parser.add_argument("--weights", default=ROOT / "weights/demo")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--shots", type=Path, default=ROOT / "build/browser-shots")
    parser.add_argument("--readme", type=Path, help="write README's screenshot to this file")
    options = parser.parse_args()
    options.shots.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(options.senetd, options.weights)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"])
            on_a_desk(browser, daemon, options.shots, options.readme)
            print("the page on a desk: passed")
            on_a_phone(browser, daemon, options.shots)
            print("the page on a phone: passed")
            browser.close()
    finally:
        daemon.stop()


if __name__ == "__main__":
    main()
