"""Starts a Python program anew as on a CPU without AVX-512 (older_cpu.c).

Where the CPU cannot fault on CPUID (cpuid_fault in /proc/cpuinfo) the libraries are copied, and each
CPUID in the copies becomes UD2, an instruction of the same length that faults everywhere.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
HERE = Path(__file__).parent


def can_fault():
    return " cpuid_fault" in Path("/proc/cpuinfo").read_text()


def objdump(*arguments):
    return subprocess.run(["objdump", "-j", ".text", *arguments], check=True, capture_output=True,
                          text=True).stdout


def replace_cpuid(path):
    """In that library, in place; only what a disassembler says is an instruction."""
    code = bytearray(path.read_bytes())
    if CPUID not in code:
        return
    address, offset = (int(number, 16) for number in
                       re.search(r"\.text +\w+ +(\w+) +\w+ +(\w+)", objdump("-h", path)).groups())
    for found in re.findall(r"^ *(\w+):\t0f a2 +\tcpuid", objdump("-d", path), re.MULTILINE):
        at = int(found, 16) - address + offset
        code[at: at + 2] = UD2
    path.unlink()  # it may be a link to the original
    path.write_bytes(code)


def copy_without_cpuid(source, target):
    """A library, or a package; of the latter all but its libraries are links."""
    if target.exists() and target.stat().st_ctime > source.stat().st_mtime:
        return
    if source.is_file():
        shutil.copyfile(source, target)
        replace_cpuid(target)
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)
    for library in target.rglob("*.so*"):
        replace_cpuid(library)


def start(cpu, packages, library, folder):
    """This program anew, held to "avx2" or "avxvnni"; what is made for it comes into `folder`."""
    folder.mkdir(exist_ok=True)
    preloaded = folder / "older_cpu.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", preloaded,
                    HERE / "older_cpu.c"], check=True)
    changed = dict(OLDER_CPU=cpu, LD_PRELOAD=str(preloaded), ATEN_CPU_CAPABILITY="avx2",
                   ONEDNN_MAX_CPU_ISA={"avx2": "avx2", "avxvnni": "avx2_vnni"}[cpu])
    if not can_fault():
        for package in packages:
            source = next(path for entry in sys.path if (path := Path(entry) / package).is_dir())
            copy_without_cpuid(source, folder / package)
        copy_without_cpuid(library, folder / library.name)
        changed.update(OLDER_CPU_LIBRARIES=str(folder), PYTHONPATH=str(folder))
    os.environ.update(changed)
    os.execv(sys.executable, [sys.executable, *sys.argv])


def held(path):
    """That library as this program is to load it."""
    folder = os.environ.get("OLDER_CPU_LIBRARIES")
    return Path(folder) / path.name if folder else path
