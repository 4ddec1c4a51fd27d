"""What the tests of the page stand on: the daemon, and a browser window that notes every fault."""
import base64
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

PATIENCE_MS = 120_000  # for a loaded machine
BLOCKS, CHANNELS = 16, 15104  # of SE-ResNet-50
expect.set_options(timeout=PATIENCE_MS)

# A file that the page gets as an event's DataTransfer.
TRANSFER = """const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));"""


class Daemon:
    """senetd on a free port, which it keeps when it is started again."""

    def __init__(self, binary, weights):
        self.command = [binary, "--weights", weights]
        self.folder = tempfile.TemporaryDirectory()
        self.log = open(Path(self.folder.name, "log"), "w+b")
        self.start("127.0.0.1:0")

    def start(self, listen):
        port_file = Path(self.folder.name, "port")
        port_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*self.command, "--listen", listen, "--port-file", port_file], stderr=self.log)
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not (port_file.exists() and port_file.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                sys.exit(f"senetd did not come up:\n{self.log.read().decode()}")
            time.sleep(0.1)
        self.base = f"http://127.0.0.1:{port_file.read_text().strip()}"

    def start_again(self):
        self.start(self.base.removeprefix("http://"))

    def get(self, path, body=None):
        request = urllib.request.Request(self.base + path, data=body)
        with urllib.request.urlopen(request, timeout=PATIENCE_MS / 1000) as answer:
            return answer.read()

    def classify(self, path):
        return json.loads(self.get("/classify?topk=5", path.read_bytes()))["results"][0]

    def explain(self, path, mode):
        return json.loads(self.get(f"/explain?mode={mode}", path.read_bytes()))

    def reference(self, layer=None):
        """Of every block, or one with its classes; deviations are at least the least one."""
        profile = json.loads(self.get("/reference" + ("" if layer is None else f"?layer={layer}")))
        for block in profile["layers"]:
            block["scale"] = [max(std, profile["least_std"]) for std in block["std"]]
        return profile["layers"]

    def drift(self):
        """{block: drift} of /metrics."""
        return {block: float(value) for block, value in re.findall(
            r'^senetd_se_drift{block="(.*?)"} (.*)$', self.get("/metrics").decode(), re.M)}

    def end(self):
        self.process.terminate()
        status = self.process.wait(timeout=60)
        assert status == 0, f"senetd ended with status {status}"

    def stop(self):
        self.end()
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

    def send(self, script, path):
        self.page.evaluate(f"([name, data]) => {{ {TRANSFER} {script} }}",
                           [path.name, base64.b64encode(path.read_bytes()).decode()])

    def drop(self, path):
        self.send("""document.getElementById('intake').dispatchEvent(new DragEvent('drop',
            {dataTransfer: transfer, bubbles: true, cancelable: true}));""", path)

    def paste(self, path):
        self.send("""document.body.dispatchEvent(new ClipboardEvent('paste',
            {clipboardData: transfer, bubbles: true, cancelable: true}));""", path)

    def tab_to(self, selector):
        """By the Tab key alone."""
        for _ in range(80):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"no Tab leads to {selector}")

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
