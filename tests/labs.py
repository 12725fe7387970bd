"""A running lab, as a user starts it."""

import http.client
import json
import re
import subprocess
import sys

from serving import MAIN

from neoclassic.web.look import unpacked


class Lab:
    """The server of `neoclassic lab`, without torch. `page` is the printed address. folder: where it runs."""

    def __init__(self, *arguments, folder=None):
        command = [sys.executable, "-c", MAIN, "lab", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
        line = self.process.stderr.readline()
        found = re.match(r"(http://127\.0\.0\.1:(\d+)/\?token=(\S+)) ", line)
        assert found, line + self.process.stderr.read()
        self.page, self.port, self.token = found[1], int(found[2]), found[3]

    def end(self):
        """Stop the server; return its exit code and the rest of stderr."""
        self.process.terminate()
        said = self.process.communicate(timeout=20)[1]
        return self.process.returncode, said

    def ask(self, method, path, body=None, headers=None, token=True):
        """Status and body."""
        headers = {**({"Authorization": f"Bearer {self.token}"} if token else {}), **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path, method="GET", body=None, **headers):
        status, text = self.ask(method, path, body, headers)
        assert status == 200, text
        return json.loads(text)

    def packed(self, path, body):
        """Header and bytes of what is answered to pixels."""
        status, content = self.ask("POST", path, body, {"Content-Type": "application/octet-stream"})
        assert status == 200, content
        return unpacked(content)
