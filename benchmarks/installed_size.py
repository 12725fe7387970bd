"""Measure the size of an installation without PyTorch, and check that it predicts, serves and exports.

    python benchmarks/installed_size.py

Installs this checkout with its `serve` extra into a new virtual environment, measures it and uses it; then adds
onnxruntime for the stand-alone predictor. Fails if the size is 350 MB or more, or if an answer differs. The sizes are
written to results/. Needs a package index.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from neoclassic import networks
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model
from neoclassic.model.export import export

REPOSITORY = Path(__file__).parent.parent
LIMIT = 350  # MB


def megabytes(folder: Path) -> float:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python, site = folder / "venv" / "bin" / "python", folder / "venv" / "lib"
        venv.create(folder / "venv", with_pip=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"{REPOSITORY}[serve]"], check=True)
        size = megabytes(site)
        print(f"neoclassic[serve], pip included: {size:.0f} MB")

        tree, shape = networks.network("lenet", 10), (1, 28, 28)
        p, classes = Preprocessing((28, 28), 1), tuple("0123456789")
        model = Model("lenet", tree, shape, classes, p, arrays.initial(tree, shape, "xavier"))
        model.save(folder / "model.safetensors")
        export(model, folder / "model.onnx")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(folder / "a.png")

        def ask(*arguments: object) -> str:
            return subprocess.run([python, *arguments], check=True, capture_output=True, text=True, cwd=folder).stdout

        assert ask("-c", "import importlib.util as u; print(u.find_spec('torch'))").strip() == "None"
        (predicted,) = json.loads(ask("-m", "neoclassic", "predict", "model.safetensors", "a.png", "--json"))
        command = [python, "-m", "neoclassic", "serve", "model.safetensors", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        port = re.search(r":(\d+) ", server.stderr.readline())[1]  # type: ignore[index, union-attr]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", (folder / "a.png").read_bytes()) as answer:
            (served,) = json.loads(answer.read())
        server.terminate()
        assert server.wait(30) == 0

        subprocess.run([*pip, "onnxruntime"], check=True)
        larger = megabytes(site)
        print(f"with onnxruntime: {larger:.0f} MB")
        alone = json.loads(ask(REPOSITORY / "docs" / "standalone_predict.py", "--json", "model.onnx", "a.png"))
        answers = [predicted["probability"], served["probability"], alone["probability"]]
        print(f"predict, serve, stand-alone: {', '.join(f'{p:.7f}' for p in answers)}")
        assert {predicted["label"], served["label"]} == {alone["label"]}
        assert max(answers) - min(answers) < 1e-5
    found = {
        "benchmark": "installed_size",
        "what": "MB of the packages of a virtual environment with neoclassic and the extra serve, pip included",
        "megabytes": {"serve": round(size), "serve and onnxruntime": round(larger)},
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
    }
    (REPOSITORY / "results" / "installed_size.json").write_text(json.dumps(found, indent=1) + "\n")
    if size >= LIMIT:
        sys.exit(f"{size:.0f} MB is not below {LIMIT} MB")


if __name__ == "__main__":
    main()
