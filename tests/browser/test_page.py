#!/usr/bin/env python3
"""The page in a real browser: photos in, numbers against /classify, views, files, accessibility.

Debian's Chromium is driven by Playwright, axe-core looks for barriers (`make test-browser`).
Screenshots of every view are left in --shots; --readme writes those that README.md shows.
"""
import argparse
import csv
import io
import json
import math
import os
import re
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from window import BLOCKS, CHANNELS, PATIENCE_MS, Daemon, Window

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
HOSTILE = """";,'\\><img src=x onerror=document.title=1>.jpg"""
OPENED = 8  # the block looked at in detail
CLASSES_AT = [2, 6, 12, 13, 14, 15]  # the last block of each stage, and those of the last stage


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


def check_hover(window, result, reference):
    """A pointer over a strip reads off a channel; so do the arrow keys, without the pointer."""
    canvas = window.page.locator("#strips canvas").nth(OPENED)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 3, "y": 8})
    lines = read_tooltip(window)
    block, usual = result["excitations"][OPENED], reference[OPENED]
    assert lines[0].startswith(f"{block['name']}, channel "), lines
    channel = int(lines[0].rsplit(" ", 1)[1])
    gate, mean, std = (block["values"][channel], usual["mean"][channel], usual["std"][channel])
    told = [float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", " ".join(lines[1:3]))]
    assert lines[2].startswith("reference ") and " ± " in lines[2], lines
    for found, expected in zip(told, (gate, mean, std), strict=True):
        assert abs(found - expected) <= 5.1e-3 * expected + 1e-6, (lines, gate, mean, std)
    z = (gate - mean) / usual["scale"][channel]
    assert abs(float(lines[3].split()[-1].replace("−", "-")) - z) < 0.02, (lines, z)
    window.page.mouse.move(0, 0)
    window.page.locator("#strips button").nth(2).focus()
    window.page.keyboard.press("ArrowDown")
    window.page.keyboard.press("End")
    by_key = read_tooltip(window)
    assert by_key[0].startswith(result["excitations"][3]["name"]), by_key
    assert window.page.locator("#status").text_content() == ", ".join(by_key)


def check_order(window, reference):
    """Channels by their number or by the reference's mean; colours by z or by gate."""
    page, mean = window.page, reference[OPENED]["mean"]

    def ends():
        page.locator("#strips button").nth(OPENED).focus()
        for key in ("Home", "End"):
            page.keyboard.press(key)
            yield int(read_tooltip(window)[0].rsplit(" ", 1)[1])

    least, most = ends()
    assert mean[least] == min(mean) and mean[most] == max(mean), (least, most)
    page.select_option("#order", "channel")
    assert list(ends()) == [0, len(mean) - 1]
    page.select_option("#order", "reference")
    by_z = page.locator("#strips .stat").all_text_contents()
    expect(page.locator("#legend")).to_contain_text("z: standard deviations")
    page.select_option("#colour", "gate")
    expect(page.locator("#legend")).not_to_contain_text("z:")
    assert page.locator("#strips .stat").all_text_contents() != by_z
    page.select_option("#colour", "z")


def check_widths(window, result):
    """A strip is as wide as its block has channels."""
    boxes = [box.bounding_box() for box in window.page.locator("#strips canvas").all()]
    for box, block in zip(boxes, result["excitations"], strict=True):
        expected = boxes[-1]["width"] * block["channels"] / 2048
        assert abs(box["width"] - expected) < 2, (block["name"], box)


def check_block(window, explained=None):
    """A click opens a block: its histogram, its curve, what the prediction is without it."""
    row = window.page.locator("#strips > li").nth(OPENED)
    row.locator("button.strip").click()
    expect(row.locator("button.strip")).to_have_attribute("aria-expanded", "true")
    expect(row.locator(".detail svg.chart").nth(1)).to_be_visible()
    assert row.locator(".detail rect.bin").count() > 10
    expect(row.locator("path.curve.class")).to_have_count(3)
    effect = row.locator(".ablation .facts")
    expect(effect).to_contain_text("without this block", timeout=PATIENCE_MS)
    if explained:
        best, own = explained["top_k"][0], explained["blocks"][OPENED]
        expected = [percent(best["probability"]), percent(own["probability"])]
        found = [float(n) for n in re.findall(r"([\d.]+) %", effect.text_content())]
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 0.1, (found, own)
        assert row.locator("rect.effect").count() == BLOCKS


def check_compare(window, first, second, reference):
    """Two photos side by side; each block's distance, in the profile's deviations."""
    window.tab("compare")
    page = window.page
    page.select_option("#compare-a", label=first[0].name)
    page.select_option("#compare-b", label=second[0].name)
    check_top_k(page, "#compare-topk-a", first[1])
    check_top_k(page, "#compare-topk-b", second[1])
    expect(page.locator("#compare-strips > li")).to_have_count(BLOCKS)
    for layer, stat in enumerate(page.locator("#compare-strips .stat").all_text_contents()):
        a, b = (photo[1]["excitations"][layer]["values"] for photo in (first, second))
        squares = [((x - y) / s) ** 2 for x, y, s in zip(a, b, reference[layer]["scale"],
                                                         strict=True)]
        assert abs(float(stat) - (sum(squares) / len(squares)) ** 0.5) < 2e-3, (layer, stat)


def check_removal(window, names):
    """Of three photos the second is compared and removed: the third takes its place."""
    page = window.page

    def compared():
        return [page.locator(f"#compare-photo-{side} figcaption").text_content() for side in "ab"]

    window.tab("compare")
    assert compared() == [names[0], names[1]], compared()
    page.get_by_label(f"Remove {names[1]}").click()
    assert compared() == [names[0], names[2]], compared()


def check_classes(window, daemon):
    """Curves of the classes' mean gates at the blocks where the paper looks."""
    window.tab("classes")
    charts = window.page.locator("#classes-charts svg.chart")
    expect(charts).to_have_count(len(CLASSES_AT))
    expect(charts.last.locator("path.curve")).to_have_count(6)
    for place, layer in ((0, CLASSES_AT[0]), (2, CLASSES_AT[2])):
        [block] = daemon.reference(layer)
        means = {entry["label"]: entry["mean"] for entry in block["classes"]}
        order = sorted(range(block["channels"]), key=lambda channel: block["mean"][channel])
        label = window.page.locator("#classes-charts .key li").first.text_content()
        mean = means[label.rsplit(" (", 1)[0]]
        points = min(160, len(order))
        drawn = [float(y) for y in re.findall(
            r"[-\d.]+,([-\d.]+)", charts.nth(place).locator("path.curve").first.get_attribute("d"))]
        assert len(drawn) == points
        for i, y in enumerate(drawn):  # the frame lies from 8, a gate of 1, to 152
            part = order[i * len(order) // points:(i + 1) * len(order) // points]
            expected = sum(mean[channel] for channel in part) / len(part)
            assert abs((152 - y) / 144 - expected) < 2e-3, (layer, i, y, expected)


def save(window, kind):
    with window.page.expect_download() as got:
        window.page.click(f"#save-{kind}")
    assert got.value.suggested_filename == f"cat-gates.{kind}"
    return Path(got.value.path()).read_bytes()


def check_files(window, result, reference):
    gates = [value for block in result["excitations"] for value in block["values"]]
    usual = [(mean, (gate - mean) / scale) for block, told in zip(reference, result["excitations"])
             for mean, scale, gate in zip(block["mean"], block["scale"], told["values"])]
    rows = list(csv.DictReader(io.StringIO(save(window, "csv").decode())))
    assert len(rows) == CHANNELS
    for row, gate, (mean, z) in zip(rows, gates, usual, strict=True):
        assert abs(float(row["gate"]) - gate) < 1e-4, row
        assert abs(float(row["reference_mean"]) - mean) < 1e-6, row
        assert abs(float(row["z"]) - z) < 1e-2, (row, z)
    data = save(window, "npy")
    size = struct.unpack_from("<H", data, 8)[0]
    assert data[:8] == b"\x93NUMPY\x01\x00" and (10 + size) % 64 == 0
    assert f"'shape': ({CHANNELS},)".encode() in data[10:10 + size]
    floats = struct.unpack_from(f"<{CHANNELS}f", data, 10 + size)
    assert all(abs(a - b) < 1e-4 for a, b in zip(floats, gates, strict=True))
    picture = save(window, "png")
    assert picture.startswith(b"\x89PNG") and struct.unpack(">I", picture[16:20]) == (2400,)
    assert len(picture) > 20_000, "hardly a picture of 15,104 gates"
    assert len(json.loads(save(window, "json"))["results"][0]["excitations"]) == BLOCKS


def run_curl(window, folder):
    """The answer to the line on the page."""
    line = window.page.locator("#curl").text_content()
    assert window.base in line
    answer = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, check=True)
    return json.loads(answer.stdout)


def check_copy(window):
    window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    window.page.click("#copy")
    expect(window.page.locator("#copy")).to_have_text("Copied")
    copied = window.page.evaluate("navigator.clipboard.readText()")
    assert copied == window.page.locator("#curl").text_content(), copied


def check_live(window, daemon):
    """What /metrics tells, as it changes: after some photos there is a drift."""
    page = window.page
    while len(daemon.drift()) < BLOCKS:
        daemon.classify(DATA / "cat.jpg")
    tile = {name: page.locator(".tile", has=page.locator(f"dt:text-is('{name}')"))
            for name in ("Requests", "Photos", "Latency", "Batch", "Queue", "Drift")}
    expect(tile["Drift"].locator(".figure")).to_have_text(f"{max(daemon.drift().values()):.2f}")
    expect(tile["Latency"].locator(".figure")).to_have_text(re.compile(r"^\d+\.\d$"))
    expect(tile["Batch"].locator(".figure")).to_have_text(re.compile(r"^[1-9]\d*\.\d$"))
    expect(tile["Queue"].locator(".figure")).to_have_text("0")
    expect(tile["Requests"].locator(".unit")).to_have_text("/s")
    page.click("#pause")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")


def check_camera(window, count):
    """Chromium's own test picture, as a photo; afterwards the camera is off."""
    page = window.page
    page.click("#camera")
    expect(page.locator("#camera-dialog")).to_be_visible()
    # Not by wait_for_function, which needs eval, which the page's policy forbids.
    deadline = time.monotonic() + 60
    while not page.evaluate("document.getElementById('camera-video').videoWidth"):
        assert time.monotonic() < deadline, "the camera shows nothing"
        page.wait_for_timeout(100)
    window.check_axe("camera")
    page.click("#camera-shoot")
    window.wait_done(count)
    expect(page.locator(".thumb", has_text="camera.jpg")).to_have_count(1)
    expect(page.locator("#camera-dialog")).to_be_hidden()
    assert page.evaluate("""document.getElementById('camera-video').srcObject.getTracks()
        .every((track) => track.readyState === 'ended')""")


def check_no_markup(window, views):
    for view in views:
        window.tab(view)
        window.page.wait_for_timeout(300)
        assert window.page.locator('img[src="x"]').count() == 0, view
    assert "senetd" in window.page.title()


VIEWS = ("attention", "compare", "classes", "numbers")


def check_hostile_name(window, count):
    """A name that is markup stays text; what is no photo is refused with the daemon's words."""
    cat = (DATA / "cat.jpg").read_bytes()
    window.choose([{"name": HOSTILE, "mimeType": "image/jpeg", "buffer": cat},
                   {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": cat[:300]}])
    window.wait_done(count)
    expect(window.page.locator(".thumb.failed")).to_have_count(1)
    expect(window.page.locator("#notice")).to_contain_text("broken.jpg")
    window.page.locator(".thumb", has_text="onerror").locator("input").check(force=True)
    check_no_markup(window, VIEWS)
    with tempfile.TemporaryDirectory() as name:
        Path(name, HOSTILE).write_bytes(cat)
        [told] = run_curl(window, name)["results"]
        assert len(told["excitations"]) == BLOCKS, told


def with_hostile_labels(browser, binary, weights, shots):
    """The same of labels; and were markup to get in, the policy would keep it from running."""
    with tempfile.TemporaryDirectory() as name:
        for file in weights.resolve().iterdir():
            os.symlink(file, Path(name, file.name))
        Path(name, "labels.txt").unlink()
        Path(name, "labels.txt").write_text("".join(
            f"<img src=x onerror=document.title=1>{i}\n" for i in range(11)))
        daemon = Daemon(binary, name)
        window = Window(browser, daemon.base, 1280, 900, False, shots)
        window.drop(DATA / "cat.jpg")
        window.wait_done(1)
        expect(window.page.locator("#topk .label").first).to_contain_text("<img src=x")
        check_block(window)
        check_no_markup(window, VIEWS)
        assert window.page.evaluate("""() => {
            document.body.insertAdjacentHTML('beforeend', '<b onclick="window.ran = 1">x</b>');
            document.body.lastElementChild.click();
            const script = document.createElement('script');
            script.textContent = 'window.ran = 2';
            document.body.append(script);
            return window.ran;
        }""") is None
        window.page.wait_for_timeout(300)
        refused = [fault for fault in window.faults if "Content Security Policy" in fault]
        assert len(refused) == len(window.faults) == 2, window.faults
        window.faults.clear()
        window.close()
        daemon.stop()


def without_blocks(browser, binary, shots):
    """A plain ResNet: its classes, and that there is nothing else to see."""
    daemon = Daemon(binary, ROOT / "tests/golden/fixtures/tiny_resnet")
    window = Window(browser, daemon.base, 1280, 900, False, shots)
    expect(window.page.locator("#notice")).to_contain_text("plain ResNet")
    window.choose([str(DATA / "cat.jpg")])
    check_top_k(window.page, "#topk", daemon.classify(DATA / "cat.jpg"))
    expect(window.page.locator("#reference")).to_contain_text("plain ResNet")
    expect(window.page.locator("#tabs")).to_be_hidden()
    expect(window.page.locator("#curl")).to_contain_text("/classify")
    window.close()
    daemon.stop()


def by_keyboard(browser, daemon, shots):
    """All of it without a pointer, and what a screen reader is told."""
    window = Window(browser, daemon.base, 1280, 900, False, shots)
    page, press = window.page, window.page.keyboard.press
    focused = "(selector) => document.activeElement.matches(selector)"
    window.tab_to(".skip")
    press("Enter")
    assert page.evaluate(focused, "#main")
    window.tab_to("#files")
    window.tab_to("#sample")
    press("Enter")
    window.wait_done(1)
    expect(page.locator("#status")).to_have_text(re.compile(r"^cat\.jpg: .+, [\d.]+ %$"))
    window.choose([str(DATA / "rocket.jpg")])
    window.wait_done(2)
    page.locator("#photos input:checked").focus()
    press("ArrowUp")
    expect(page.locator("#photo figcaption")).to_have_text("cat.jpg")
    window.tab_to("#tab-attention")
    for key, view in (("ArrowRight", "compare"), ("End", "numbers"), ("ArrowRight", "attention")):
        press(key)
        assert page.evaluate(focused, f"#tab-{view}[aria-selected=true]"), view
        expect(page.locator(f"#view-{view}")).to_be_visible()
    window.tab_to("#colour")
    window.tab_to("#order")
    window.tab_to("button.strip")
    press("Enter")
    expect(page.locator("#strips > li").first.locator(".detail")).to_be_visible()
    press("Enter")
    press("ArrowDown")
    press("ArrowRight")
    expect(page.locator("#tooltip")).to_be_visible()
    press("Escape")
    expect(page.locator("#tooltip")).to_be_hidden()
    tree = page.locator("body").aria_snapshot()
    for line in (r'tab "Attention" \[selected\]', r'heading "Gates of every block"',
                 r'button "layer1\.0 SE_2_1 [\d.]+: .*"', r'img "Photo cat\.jpg"',
                 r'radio "cat\.jpg .*" \[checked\]', r'combobox "Order"', r'status: layer1\.1, channel \d+, gate'):
        assert re.search(line, tree), f"no {line} in\n{tree}"
    window.close()


def through_a_restart(browser, daemon, shots):
    """While the server is down the page says so; once it is back all goes on without loading."""
    window = Window(browser, daemon.base, 1280, 900, False, shots)
    page = window.page
    window.choose([str(DATA / name) for name in ("cat.jpg", "coffee.jpg", "rocket.jpg")])
    window.wait_done(3)
    for _ in range(BLOCKS):
        daemon.classify(DATA / "cat.jpg")
    drift = page.locator(".tile", has=page.locator("dt:text-is('Drift')"))
    expect(drift.locator(".figure")).to_have_text(re.compile(r"^[\d.]+$"))
    daemon.end()
    expect(page.locator("#live-problem")).to_contain_text("cannot be reached")
    page.click("#sample")
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    window.choose([{"name": "lost.jpg", "mimeType": "image/jpeg",
                    "buffer": (DATA / "cat.jpg").read_bytes()}])
    expect(page.locator(".thumb.failed")).to_contain_text("cannot be reached")
    row = page.locator("#strips > li").nth(OPENED)
    row.locator("button.strip").click()
    expect(row.locator(".ablation")).to_contain_text("cannot be reached")
    window.tab("classes")
    expect(page.locator("#classes-charts .key")).to_contain_text("cat (1)")
    expect(page.locator("#classes-facts")).to_contain_text("on this page")
    daemon.start_again()
    expect(page.locator("#live-problem")).to_be_hidden()
    expect(drift.locator(".figure")).to_have_text("–")
    figures = page.locator(".tile .figure").all_text_contents()
    assert not any(text.startswith("-") for text in figures), figures
    page.click("#sample")
    window.wait_done(4)
    expect(page.locator("#classes-charts .key")).to_contain_text("cat (60)")
    expect(page.locator("#classes-facts")).to_contain_text("from the model’s profile")
    window.tab("attention")
    expect(row.locator("path.curve.class")).to_have_count(3)  # the open block asks anew
    expect(row.locator(".ablation .facts")).to_contain_text("without this block")
    check_removal(window, ("cat.jpg", "coffee.jpg", "rocket.jpg"))
    refused = [fault for fault in window.faults if "ERR_CONNECTION" in fault]
    assert refused == window.faults, window.faults
    window.faults.clear()
    window.close()


def shoot_readme(window, path):
    """From the top of the page to the end of the view."""
    view = window.page.locator("#view-attention").bounding_box()
    below = view["y"] + view["height"] + window.page.evaluate("scrollY")
    window.page.screenshot(path=path, type="jpeg", quality=85, full_page=True, clip={
        "x": 0, "y": 0, "width": window.page.viewport_size["width"], "height": below + 20})


def on_a_desk(browser, daemon, shots, readme):
    window = Window(browser, daemon.base, 1280, 900, False, shots)
    reference = daemon.reference()
    window.shoot("desktop-empty")
    window.check_axe("empty")
    cat, coffee = DATA / "cat.jpg", DATA / "coffee.jpg"
    window.drop(cat)
    window.wait_done(1)
    result = daemon.classify(cat)
    check_top_k(window.page, "#topk", result)
    window.paste(coffee)
    window.wait_done(2)
    window.choose([str(DATA / "rocket.jpg")])
    window.wait_done(3)
    window.page.locator(".thumb", has_text="cat.jpg").locator("input").check(force=True)
    check_top_k(window.page, "#topk", result)
    check_widths(window, result)
    check_hover(window, result, reference)
    check_order(window, reference)
    window.page.mouse.move(0, 0)
    [told] = run_curl(window, DATA)["results"]
    assert told["top_k"] == result["top_k"] and len(told["excitations"][0]["z"]) == 256
    check_copy(window)
    window.shoot("desktop-attention")
    check_block(window, daemon.explain(cat, "identity"))
    window.shoot("desktop-block")
    window.check_axe("block")
    if readme:
        window.page.locator("#strips button.strip").nth(OPENED).blur()
        shoot_readme(window, readme)
    check_compare(window, (cat, result), (coffee, daemon.classify(coffee)), reference)
    assert len(run_curl(window, DATA)["layers"]) == BLOCKS
    window.shoot("desktop-compare")
    window.check_axe("compare")
    check_classes(window, daemon)
    assert len(run_curl(window, DATA)["layers"][0]["classes"]) == 11
    window.shoot("desktop-classes")
    window.check_axe("classes")
    check_numbers(window, result, 3)
    check_files(window, result, reference)
    window.shoot("desktop-numbers")
    window.check_axe("numbers")
    check_live(window, daemon)
    window.tab("attention")
    check_camera(window, 4)
    check_hostile_name(window, 5)
    window.close()


def on_a_phone(browser, daemon, shots, readme):
    window = Window(browser, daemon.base, 390, 844, True, shots)
    window.page.click("#sample")
    window.wait_done(1)
    window.shoot("phone-attention")
    window.check_axe("phone")
    if readme:
        shoot_readme(window, readme.with_stem(f"{readme.stem}-phone"))
    check_block(window)
    window.choose([str(DATA / "rocket.jpg")])
    window.wait_done(2)
    window.shoot("phone-block")
    for view in VIEWS:
        window.tab(view)
        if view == "classes":
            expect(window.page.locator("#classes-charts svg.chart")).to_have_count(len(CLASSES_AT))
        window.shoot(f"phone-{view}")
        window.check_axe(f"phone, {view}")
        wide = window.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{view} is {wide} pixels wider than the phone"
    window.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--senetd", default=ROOT / "build/senetd")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights/demo")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--shots", type=Path, default=ROOT / "build/browser-shots")
    parser.add_argument("--readme", type=Path, help="write README's screenshots: this file, and "
                        "NAME-phone beside it")
    options = parser.parse_args()
    options.shots.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(options.senetd, options.weights)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=options.chromium, args=[
                    "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                    "--use-fake-device-for-media-stream"])
            on_a_desk(browser, daemon, options.shots, options.readme)
            print("the page on a desk: passed")
            on_a_phone(browser, daemon, options.shots, options.readme)
            print("the page on a phone: passed")
            by_keyboard(browser, daemon, options.shots)
            print("the page by keyboard: passed")
            with_hostile_labels(browser, options.senetd, options.weights, options.shots)
            print("the page with hostile labels: passed")
            without_blocks(browser, options.senetd, options.shots)
            print("the page of a plain ResNet: passed")
            through_a_restart(browser, daemon, options.shots)
            print("the page through a restart: passed")
            browser.close()
    finally:
        daemon.stop()


if __name__ == "__main__":
    main()
