"""Files with which a server is set up elsewhere: a Dockerfile and a systemd unit."""

from pathlib import Path

from torchloupe import __version__
from torchloupe.config.settings import read_settings
from torchloupe.deploy.artefact.folder import is_export, read_facts
from torchloupe.errors import ResourceError, UsageError, printable
from torchloupe.system.trust import trusted_name

_DOCKERFILE = """\
# Build beside the run folder:  docker build -t classifier .
# Run:  docker run --rm -p 8000:8000 -e LOUPE_TOKEN=... classifier
FROM python:3.12-slim
RUN useradd --uid 10001 --create-home loupe \\
 && pip install --no-cache-dir "torchloupe[{extras}]=={version}"
COPY --chown=10001 {run} /run-folder
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \\
  "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["loupe", "serve", "/run-folder", "--host", "0.0.0.0", "--port", "8000"]
"""
_UNIT = """\
# Copy to /etc/systemd/system/, put LOUPE_TOKEN=... into /etc/loupe-serve.env (mode 600), then
# systemctl enable --now loupe-serve
[Unit]
Description=torchloupe server
After=network.target

[Service]
ExecStart=/opt/loupe/bin/loupe serve /srv/{run} --port 8000
EnvironmentFile=/etc/loupe-serve.env
DynamicUser=yes
KillSignal=SIGTERM
TimeoutStopSec=40
SuccessExitStatus=143
Restart=on-failure
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
CapabilityBoundingSet=
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
MemoryMax=4G
TasksMax=256
LimitNOFILE=4096

[Install]
WantedBy=multi-user.target
"""


def write_files(run: Path, folder: Path) -> list[Path]:
    """Write Dockerfile and loupe-serve.service into `folder`, both or none; nothing is replaced.

    `run` is a run folder or an exported one, which needs the library that runs it.
    """
    name = run.resolve().name
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise UsageError(
            f"{printable(name)} is no name for a Dockerfile and a unit", "rename the run folder"
        )
    extras = _extras_of(run)
    if not is_export(run):
        _refuse_own_code(run)
    values = {"run": name, "version": __version__, "extras": extras}
    begun: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in (("Dockerfile", _DOCKERFILE), ("loupe-serve.service", _UNIT)):
            with (folder / file).open("x", encoding="utf-8") as opened:
                begun.append(folder / file)
                opened.write(text.format(**values))
    except OSError as error:
        for path in begun:
            path.unlink()
        raise ResourceError(
            f"can't write {printable(error.filename or folder)}: {error.strerror or error}",
            "give a new folder",
        ) from None
    return begun


def _refuse_own_code(run: Path) -> None:
    """UsageError for a run whose network is code that neither the image nor the unit would have."""
    try:
        trusted_name(read_settings(run / "config.json").config.model.name, "model", run, False)
    except UsageError:
        raise UsageError(
            f"the network of {printable(run)} is code of your own, which is not in the image",
            f"export it, and write the files for that: loupe export {printable(run)} --trust-code",
        ) from None


def _extras_of(run: Path) -> str:
    """What of torchloupe the server needs; UsageError for an export that can't be served."""
    kind = read_facts(run)["to"] if is_export(run) else ""
    if kind == "safetensors":
        raise UsageError(
            f"{printable(run)} holds weights without a graph, which can't be served",
            "give the run itself, or an export of it with --to onnx",
        )
    return {"onnx": "serve,export", "openvino": "serve,openvino"}.get(kind, "serve")
