"""Ask pip where a file is, and open addresses as pip would: its index, find-links, proxy, certificates, credentials.

`pip install --dry-run` downloads whole wheels before pip 23.1, and `pip download` cannot resume, so this asks pip's own
package finder. It is not a public interface, but has kept this shape from pip 21 to pip 26; test_fetch.py runs it.
"""

import base64
import importlib.util
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional


PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)] + ["manylinux2014_x86_64"]


class Trouble(Exception):
    """Something the person at the terminal can act on; the message is all they see."""


class Web(NamedTuple):
    opener: urllib.request.OpenerDirector
    credentials: dict[str, str]  # host -> "user:password"

    def open(self, url: str, offset: int = 0) -> Any:
        parts = urllib.parse.urlsplit(url)
        own, _, host = parts.netloc.rpartition("@")
        address = parts._replace(netloc=host).geturl()
        request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        secret = urllib.parse.unquote(own) or self.credentials.get(host)
        if secret:
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(secret.encode()).decode())
        return self.opener.open(request, timeout=60)


def web(cert: Optional[str] = None, proxy: Optional[str] = None, trusted: Sequence[str] = (),
        indexes: Sequence[str] = ()) -> Web:
    """Without `cert` and `proxy`, SSL_CERT_FILE and the usual proxy variables count. Python has no per-host setting
    for certificates, so one trusted host turns the check off for all: the sha256 of each file is what is relied upon."""
    is_folder = bool(cert) and Path(str(cert)).is_dir()
    context = ssl.create_default_context(cafile=None if is_folder else cert, capath=cert if is_folder else None)
    if trusted:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    credentials = {}
    for index in indexes:
        secret, _, host = urllib.parse.urlsplit(index).netloc.rpartition("@")
        if secret:
            credentials[host] = urllib.parse.unquote(secret)
    return Web(urllib.request.build_opener(*handlers), credentials)


def ask_pip(wanted: Sequence[tuple[str, str, str]]) -> tuple[dict[str, str], Web]:
    """The address of each (project, version, file), whatever Python and machine pip itself runs on."""
    if importlib.util.find_spec("pip") is None:
        raise Trouble(f"{sys.executable} has no pip, which finds the files to download; on Debian: "
                      "apt-get install python3-pip")
    from pip._internal.commands import create_command
    from pip._internal.models.target_python import TargetPython

    command: Any = create_command("download")
    options, _ = command.parse_args([])
    target = TargetPython(platforms=PLATFORMS, py_version_info=(3, 12), abis=["cp312"], implementation="cp")
    finder = command._build_package_finder(options, command._build_session(options), target_python=target)
    urls = {}
    for project, version, file in wanted:
        links = [candidate.link for candidate in finder.find_all_candidates(project)]
        url = next((link.url_without_fragment for link in links if link.filename == file), None)
        if url is None:
            raise Trouble(f"pip finds no {file} at the package index: is the network up, and does the index of "
                          f"`pip config list` hold {project} {version}? Then run the command again")
        urls[file] = url
    indexes = [] if options.no_index else [options.index_url, *options.extra_index_urls]
    return urls, web(options.cert, options.proxy, options.trusted_hosts, indexes)


def pip_download(wanted: Sequence[tuple[str, str, str]], folder: Path) -> None:
    """For a pip whose inside has changed: its public command, which starts again when it is interrupted."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command += [f"{project}=={version}" for project, version, _ in wanted]
    if subprocess.run(command, check=False).returncode != 0:
        raise Trouble(f"pip could not download {', '.join(project for project, _, _ in wanted)} (see above); run the command again")
