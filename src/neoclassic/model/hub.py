"""Models and weights on the Hugging Face Hub: `hf:OWNER/REPO`, or `hf:OWNER/REPO@REVISION`.

The Hub's own library, huggingface_hub, fetches them. It verifies and resumes downloads, and keeps them in its own
cache; HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are its settings. Only `.safetensors` files and `config.json`
are ever fetched, and nothing in a repository is executed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from neoclassic.base.errors import NeoclassicError, UsageError, install

PREFIX = "hf:"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
COMMIT = re.compile(r"[0-9a-f]{40}")


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether it is an address on the Hub, not a path. A file of such a name is `./hf:…`."""
    return os.fspath(path).startswith(PREFIX)


def local(path: str | os.PathLike[str]) -> Path:
    """Where the files of an address are on this machine, downloaded if they are not there; any other path as it is.

    It is a folder with `model.safetensors` and, if the repository has one, `config.json`; or the repository's only
    `.safetensors` file, if that has another name. UsageError for a malformed address or if huggingface_hub is not
    installed; NeoclassicError, one line, if the Hub cannot be reached, or has no such repository, revision or file.
    """
    if not is_address(path):
        return Path(path)
    return _fetched(os.fspath(path))


def pinned(address: str) -> str:
    """The same address with the revision that it means today, a commit. Errors as from `local`."""
    files = _fetched(address)
    commit = next((part for part in reversed(files.parts) if COMMIT.fullmatch(part)), None)
    repository, revision = _parts(address)
    revision = commit or revision
    return f"{PREFIX}{repository}@{revision}" if revision else address


def _fetched(address: str) -> Path:
    repository, revision = _parts(address)
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise UsageError(f"{address} needs huggingface_hub: {install('huggingface_hub')}") from None
    endpoint = os.environ.get("HF_ENDPOINT") or huggingface_hub.constants.ENDPOINT
    where: dict[str, Any] = {"repo_id": repository, "revision": revision, "endpoint": endpoint.rstrip("/")}

    def fetch(name: str) -> Path:
        return Path(huggingface_hub.hf_hub_download(filename=name, library_name="neoclassic", **where))

    host = urlsplit(endpoint).netloc
    try:
        try:
            weights = fetch(WEIGHTS)
        except errors.LocalEntryNotFoundError:  # a kind of EntryNotFoundError
            raise
        except errors.EntryNotFoundError:
            names = huggingface_hub.HfApi(where["endpoint"]).list_repo_files(repository, revision=revision)
            weights = fetch(_only_weights(address, names))
        with suppress(errors.EntryNotFoundError):  # there is none, or there is no network
            fetch(CONFIG)
    except NeoclassicError:
        raise
    except errors.GatedRepoError:
        raise NeoclassicError(f"{address}: access must be requested on its page; then set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise NeoclassicError(f"{address}: {repository} has no revision {revision or 'main'!r}") from None
    except errors.RepositoryNotFoundError:
        raise NeoclassicError(
            f"{address}: no such repository on {host}, or it is private: check the name, or set HF_TOKEN"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise NeoclassicError(
            f"{address}: {host} does not answer, and no copy is on this machine: download {WEIGHTS} of {repository} "
            "elsewhere, and give its path"
        ) from None
    except Exception as error:  # of HTTP, of the disk, or of the library's checks of names
        reason = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
        raise NeoclassicError(f"{address} cannot be fetched from {host}: {reason[:200]}") from None
    return weights.parent if weights.name == WEIGHTS else weights


def _parts(address: str) -> tuple[str, str | None]:
    """OWNER/REPO, and the revision if the address names one. UsageError for anything else."""
    repository, at, revision = address.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or (at and not revision):
        raise UsageError(f"{address!r}: write hf:OWNER/REPO or hf:OWNER/REPO@REVISION")
    return repository, revision or None


def _only_weights(address: str, names: Sequence[str]) -> str:
    """The only .safetensors file among the names in a repository. NeoclassicError if it has none, or several."""
    found = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:3])
        raise NeoclassicError(f"{address} has {len(found)} files of weights ({some}): download one, and give its path")
    others = [name for name in names if name.endswith((".bin", ".pth", ".pt", ".ckpt"))]
    advice = f": download {others[0]}, and give its path" if others else ""
    raise NeoclassicError(f"{address} has no .safetensors file{advice}")
