#!/usr/bin/env python3
"""Runs `mar pack` and torch-model-archiver 0.12.0 side by side on the same inputs and compares.

usage: official_archiver.py --mar PATH_TO_MAR

Run with a Python that has torch-model-archiver (pip install --require-hashes -r requirements.txt).
For each row of CASES both tools must make archives with the same files, the same bytes in every file
and the same manifest, but for createdOn and archiverVersion. For each row of ERRORS both must fail,
with status 2 or not alike. At last an archive with samples, which only `mar pack` makes, is read by Python,
and the official archiver packs its files again. Exit status 1 if any row differs.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

OFFICIAL = "from model_archiver.model_packaging import generate_model_archive as g; g()"
MANIFEST = "MAR-INF/MANIFEST.json"
SUFFIXES = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}

FULL = """--serialized-file weights.pt --handler code/my_handler.py --model-file code/model.py
  --extra-files labels.txt,assets -r requirements.txt -c model-config.yaml""".split()

# what is shown, the flags beyond --model-name m --version 1.0
CASES = [
    ("everything, default", FULL),
    ("everything, zip-store", [*FULL, "--archive-format", "zip-store"]),
    ("everything, tgz", [*FULL, "--archive-format", "tgz"]),
    ("everything, no-archive", [*FULL, "--archive-format", "no-archive"]),
    ("built-in handler", "--handler image_segmenter --serialized-file weights.pt".split()),
    ("handler without .py", ["--handler", "code/my_handler"]),
    ("handler with a function", ["--handler", "code/functions:entry"]),
    ("eager, runtime python3", "--handler image_classifier --model-file code/model.py "
     "--serialized-file weights.pt --runtime python3".split()),
    ("extra files by pattern", ["--handler", "base_handler", "--extra-files", "*.txt,assets/*.json"]),
    ("pattern that matches folders", ["--handler", "base_handler", "--extra-files", "assets/*"]),
    ("pattern without matches", ["--handler", "base_handler", "--extra-files", "*.nothing"]),
    ("later file of one name wins",
     ["--handler", "base_handler", "--extra-files", "labels.txt,other/labels.txt"]),
    ("C++ worker", ["--runtime", "LSP", "--handler", "libnet:Net"]),
    ("C++ worker, built in", ["--runtime", "LSP", "--handler", "TorchScriptHandler"]),
    ("force over an archive", [*FULL, "--force"]),
    ("abbreviated flags", "--handl base_handler --serial weights.pt --req requirements.txt".split()),
    ("the shortest flag that is unique there", "--handler base_handler --s weights.pt".split()),
    ("long version and equals signs", ["--handler=base_handler", "--version=2.0-rc1"]),
    ("empty optional flags",
     ["--handler", "base_handler", "--extra-files", "", "--serialized-file", ""]),
]

# what is shown, all the flags, whether it is wrong usage (status 2)
BASE = ["--model-name", "m", "--version", "1.0"]
ERRORS = [
    ("archive exists", [*BASE, "--handler", "base_handler", "--export-path", "taken"], False),
    ("illegal model name", ["--model-name", "a b", "-v", "1", "--handler", "base_handler"], False),
    ("no such export path", [*BASE, "--handler", "base_handler", "--export-path", "gone"], False),
    ("no such handler", [*BASE, "--handler", "gone"], False),
    ("module.py:function", [*BASE, "--handler", "code/functions.py:entry"], False),
    ("no such weights", [*BASE, "--handler", "base_handler", "--serialized-file", "gone"], False),
    ("no such model file", [*BASE, "--handler", "base_handler", "--model-file", "gone"], False),
    ("no such config", [*BASE, "--handler", "base_handler", "-c", "gone"], False),
    ("no such requirements", [*BASE, "--handler", "base_handler", "-r", "gone"], False),
    ("no such extra file", [*BASE, "--handler", "base_handler", "--extra-files", "gone"], False),
    ("no handler given", BASE, True),
    ("no version given", ["--model-name", "m", "--handler", "base_handler"], True),
    ("no name given", ["-v", "1", "--handler", "base_handler"], True),
    ("unknown format", [*BASE, "--handler", "base_handler", "--archive-format", "rar"], True),
    ("unknown runtime", [*BASE, "--handler", "base_handler", "--runtime", "ruby"], True),
]


def make_inputs(root):
    files = {
        "weights.pt": os.urandom(100_000),
        "code/my_handler.py": b"def handle(data, context):\n    return data\n",
        "code/functions.py": b"def entry(data, context):\n    return data\n",
        "code/model.py": b"class Net:\n    pass\n",
        "labels.txt": b"sky\nroad\n" * 50,
        "other/labels.txt": b"other\n",
        "assets/index_to_name.json": b'{"0": "cat"}',
        "assets/.dotfile": b"kept",
        "assets/sub/deep/grüße.txt": b"kept",
        "assets/.git/config": b"left out",
        "assets/sub/__pycache__/x.pyc": b"left out",
        "assets/__MACOSX/x": b"left out",
        "requirements.txt": b"pillow\n",
        "model-config.yaml": b"minWorkers: 1\n",
        "libnet.so": b"\x7fELF",
        "taken/m.mar": b"in the way",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "assets/link.txt").symlink_to("index_to_name.json")


def run(tool, inputs, scratch, flags):
    # The official tool stages in TMPDIR/<model name>: each run gets its own.
    env = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run([*tool, *flags], cwd=inputs, env=env, capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


def contents(path, form):
    """The archive's files by name, read with nothing but Python's own modules."""
    if form == "no-archive":
        found = (p for p in path.rglob("*") if p.is_file())
        return {p.relative_to(path).as_posix(): p.read_bytes() for p in found}
    if form == "tgz":
        with tarfile.open(path, "r:gz") as tar:
            members = tar.getmembers()
            assert all(m.isfile() and m.name.startswith("m/") for m in members), members
            return {m.name.removeprefix("m/"): tar.extractfile(m).read() for m in members}
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
        assert bad is None, f"testzip: {bad}"
        return {name: archive.read(name) for name in archive.namelist()}


def compare(ours, theirs):
    """What differs, in words; empty when nothing does."""
    if sorted(ours) != sorted(theirs):
        return f"files: {sorted(ours)} and {sorted(theirs)}"
    changed = [name for name in ours if name != MANIFEST and ours[name] != theirs[name]]
    if changed:
        return f"contents: {changed}"
    pair = [json.load(io.BytesIO(files[MANIFEST])) for files in (ours, theirs)]
    for manifest in pair:
        assert manifest.pop("createdOn") and manifest.pop("archiverVersion")
    if json.dumps(pair[0]) != json.dumps(pair[1]):  # the text, so that the order counts too
        return f"manifests: {pair[0]} and {pair[1]}"
    return ""


def check_case(tools, inputs, work, flags):
    form = flags[flags.index("--archive-format") + 1] if "--archive-format" in flags else "default"
    found = []
    for name, tool in tools.items():
        out, scratch = work / name, work / f"{name}-tmp"
        out.mkdir()
        scratch.mkdir()
        if "--force" in flags:
            (out / "m.mar").write_bytes(b"replaced")
        status, err = run(tool, inputs, scratch, [*BASE, "--export-path", str(out), *flags])
        if status != 0:
            return f"{name} failed with {status}: {err.splitlines()[-1:]}"
        made = [p.name for p in out.iterdir()]
        if made != ["m" + SUFFIXES[form]]:
            return f"{name} made {made}"
        found.append(contents(out / made[0], form))
    return compare(*found)


def check_error(tools, inputs, work, flags, usage):
    for name, tool in tools.items():
        scratch = work / f"{name}-tmp"
        scratch.mkdir()
        status, _ = run(tool, inputs, scratch, flags)
        if (status == 2) != usage or status == 0:
            return f"{name} ended with {status}"
    return ""


def check_samples(tools, inputs, work):
    """Samples are files like any others to those who do not know them."""
    flags = ["--handler", "base_handler", "--serialized-file", "weights.pt"]
    samples = ["--sample", "labels.txt", "--expect", "assets/index_to_name.json"]
    found = []
    for name, more in (("mar", samples), ("official", ["--extra-files", str(work / "files")])):
        out = work / name
        out.mkdir()
        status, err = run(tools[name], inputs, work, [*BASE, "--export-path", str(out), *flags, *more])
        if status != 0:
            return f"{name} failed with {status}: {err.splitlines()[-1:]}"
        found.append(contents(out / "m.mar", "default"))
        for file in (file for file in found[0] if file.startswith("samples/")):
            path = work / "files" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found[0][file])
    sampled = [file for file in found[0] if file.startswith("samples/")]
    if sampled != ["samples/1/index_to_name.json", "samples/1/labels.txt", "samples/samples.json"]:
        return f"samples: {sampled}"
    return compare(*found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mar", required=True, type=Path, help="the mar binary")
    mar = parser.parse_args().mar.resolve()
    tools = {"mar": [str(mar), "pack"], "official": [sys.executable, "-c", OFFICIAL]}
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        make_inputs(inputs)
        rows = [(what, check_case, (flags,)) for what, flags in CASES]
        rows += [(what, check_error, (flags, usage)) for what, flags, usage in ERRORS]
        rows += [("an archive with samples", check_samples, ())]
        for number, (what, check, arguments) in enumerate(rows):
            work = Path(folder) / str(number)
            work.mkdir()
            problem = check(tools, inputs, work, *arguments)
            failures += bool(problem)
            print(f"{'FAILED' if problem else 'ok':6}  {what}{': ' if problem else ''}{problem}")
    print(f"{len(rows) - failures} of {len(rows)} alike")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
