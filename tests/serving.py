"""A model to serve, a running server, and requests for it."""

import http.client
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
from PIL import Image

from neoclassic import networks
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model

SECONDS = 2.0  # the server's --timeout
MAIN = "import sys; sys.modules['torch'] = None; from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"
NAMES = ("ant", "bee", "cat", "dog")


def make_model():
    tree, shape = networks.network("lenet:bn", 4), (3, 32, 32)
    preprocessing = Preprocessing((32, 32), 3, mean=(0.4,), std=(0.2,))
    calibration = {"temperature": 0.5, "threshold": 0.9, "n": 10}
    weights = arrays.initial(tree, shape, seed=3)
    return Model("lenet:bn", tree, shape, NAMES, preprocessing, weights, calibration=calibration)


class Running:
    """The server as a user starts it, without torch, in temporary folders."""

    def __init__(self, model, home, *options):
        self.home = home
        for name in ("tmp", "here"):
            (home / name).mkdir()
        environment = {**os.environ, "TMPDIR": str(home / "tmp"), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            "serve",
            str(model),
            "--port",
            "0",
            "--timeout",
            str(SECONDS),
            "--max-body",
            "1",
            "--max-pixels",
            "1",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *command, *options],
            cwd=home / "here",
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = line = self.process.stderr.readline()
        assert "answers with" in line, line + self.process.stderr.read()
        self.port = int(re.search(r":(\d+) ", line)[1])

    def end(self):
        """Stop the server; return its exit code and the rest of stderr."""
        self.process.terminate()
        said = self.process.communicate(timeout=15)[1]
        return self.process.returncode, said

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def predict(self, body, query="", **headers):
        status, _, text = self.ask("POST", f"/predict{query}", body, headers)
        return status, json.loads(text)

    def written(self):
        """The files in the server's folders."""
        return [p for p in self.home.rglob("*") if p.is_file()]


def picture(seed, size=(40, 36), kind="PNG", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def form(*files):
    """Body and headers of multipart/form-data with (name, content) files."""
    mark = "x7MA4YWxkTrZu0gW"
    head = 'Content-Disposition: form-data; name="image"; filename="{}"\r\nContent-Type: image/png\r\n\r\n'
    parts = [f"--{mark}\r\n{head.format(name)}".encode() + content + b"\r\n" for name, content in files]
    return b"".join(parts) + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}
