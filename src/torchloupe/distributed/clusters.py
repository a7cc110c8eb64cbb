"""Scripts that start a run on many machines: for Slurm, for Kubernetes, and over ssh.

Each starts torchrun once a host. Whatever is restarted gives the same command again, which goes on
with the run because of --resume. Texts only: nothing here runs anything.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from torchloupe.errors import UsageError, printable

PORT = 29500  # where torchrun's processes meet
RESTARTS = 3
_HOST = re.compile(r"(?!-)(?=.*[^\W_])[\w@.-]+")  # with a letter or digit in it
SECONDS_TO_STOP = 120  # before the time of a job is over: for the last checkpoint


@dataclass(frozen=True)
class Job:
    """A run on several hosts."""

    words: tuple[str, ...]  # of the command, after `loupe`
    name: str
    nodes: int = 2
    ranks: int = 1  # on each host: one for each of its GPUs
    gpus: bool = True
    minutes: int = 24 * 60
    hosts: tuple[str, ...] = ()  # ssh: the first one leads
    image: str = ""  # kubernetes: a container image with torchloupe in it
    claim: str = ""  # kubernetes: the PersistentVolumeClaim with data and runs, seen as /shared

    @property
    def command(self) -> str:
        """The command of each rank, for a shell."""
        return shlex.join(["-m", "torchloupe", *self.words])


# torchrun of 2.15 keeps the store of the first meeting, and a host that comes later never learns
# its address: it waits for a minute, and all end. So each meeting gets a store of its own.
JOINABLE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def torchrun(job: Job, *options: str, before: str = "") -> str:
    """The command of one host, for a shell; `options` are texts of the shell already."""
    common = (f"--nproc-per-node={job.ranks}", f"--max-restarts={RESTARTS}")
    lines = [before + "torchrun", *common, "--rdzv-backend=c10d", *options, job.command]
    return " \\\n  ".join(lines)


def write_slurm(job: Job) -> str:
    """A script for `sbatch`."""
    hours, minutes = divmod(job.minutes, 60)
    gpus = f"#SBATCH --gpus-per-node={job.ranks}\n" if job.gpus else ""
    start = torchrun(
        job,
        '--nnodes="$SLURM_NNODES"',
        '--rdzv-id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"',
        f'--rdzv-endpoint="$leader:{PORT}"',
    )
    return f"""\
#!/usr/bin/env bash
#SBATCH --job-name={job.name}
#SBATCH --nodes={job.nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
{gpus}#SBATCH --time={hours:02d}:{minutes:02d}:00
#SBATCH --signal=TERM@{SECONDS_TO_STOP}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# One task a node: torchrun, which starts the ranks of its node and restarts them with the others
# when a node is lost. Without --exclusive, or --cpus-per-task=N in its place, all ranks of a node
# get one core. {SECONDS_TO_STOP} s before the time is over SIGTERM has the run write a
# checkpoint; after a requeue the same command goes on from the last one.
set -euo pipefail
leader=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export {JOINABLE}=1  # so that a node may join after a restart
cores=$(( ${{SLURM_CPUS_ON_NODE:-{job.ranks}}} / {job.ranks} ))
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$(( cores > 1 ? cores : 1 ))}}"

srun --kill-on-bad-exit=1 {start}
"""


def write_ssh(job: Job) -> str:
    """A bash script that starts torchrun on each host and ends it everywhere with itself."""
    if len(job.hosts) < 2:
        raise UsageError("ssh needs the names of two hosts or more", "--hosts one,two")
    for host in job.hosts:
        if not _HOST.fullmatch(host):
            raise UsageError(f"{printable(host)} is no name of a host", "--hosts one,two")
    leader = job.hosts[0].rpartition("@")[2]
    start = torchrun(
        job,
        f"--nnodes={len(job.hosts)}",
        f"--rdzv-id={job.name}",
        f"--rdzv-endpoint={leader}:{PORT}",
        before=f"env {JOINABLE}=1 ",
    )
    hosts = " ".join(shlex.quote(host) for host in job.hosts)
    return f"""\
#!/usr/bin/env bash
# Every host needs the same environment and data, at the same paths; the folder of the run is on a
# file system that all share. Ctrl-C ends the ranks everywhere, after a checkpoint.
set -euo pipefail
command=$(cat <<'COMMAND'
{start}
COMMAND
)
here=$(printf '%q' "$PWD")
started=()
trap 'kill -TERM "${{started[@]}}" 2>/dev/null || true' INT TERM
for host in {hosts}; do
  # -tt: a terminal, so that torchrun ends when this connection does
  ssh -tt -o BatchMode=yes -o ServerAliveInterval=15 \\
    "$host" "cd $here && exec $command" </dev/null &
  started+=("$!")
done
code=0
for process in "${{started[@]}}"; do
  wait "$process" || code=$?
done
exit "$code"
"""


def write_kubernetes(job: Job) -> str:
    """A PyTorchJob of Kubeflow's training operator, as YAML."""
    for what, value in (("--image", job.image), ("--claim", job.claim)):
        if not value:
            raise UsageError(
                f"kubernetes needs {what}",
                "--image NAME with torchloupe in it, --claim NAME of a volume that all pods share",
            )
    words, gpus = _yaml_words(job), _yaml_gpus(job) if job.gpus else ""
    return f"""\
# kubectl apply -f this file; kubectl logs -f {job.name}-worker-0
# Kubeflow's training operator gives torchrun the number of pods and where they meet (PET_...). Pods
# that fail are started again, and go on from the last checkpoint on the shared volume.
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata:
  name: {quote_yaml(job.name)}
spec:
  nprocPerNode: {quote_yaml(str(job.ranks))}
  elasticPolicy:
    rdzvBackend: c10d
    minReplicas: {job.nodes}
    maxReplicas: {job.nodes}
    maxRestarts: {RESTARTS}
  runPolicy:
    activeDeadlineSeconds: {60 * job.minutes}
    cleanPodPolicy: None
  pytorchReplicaSpecs:
    Worker:
      replicas: {job.nodes}
      restartPolicy: OnFailure
      template:
        spec:
          terminationGracePeriodSeconds: {SECONDS_TO_STOP}
          containers:
            - name: pytorch
              image: {quote_yaml(job.image)}
              workingDir: /shared
              command: [torchrun]
              env:
                - name: {JOINABLE}
                  value: "1"
              args:
{words}{gpus}
              volumeMounts:
                - name: shared
                  mountPath: /shared
                - name: memory
                  mountPath: /dev/shm
          volumes:
            - name: shared
              persistentVolumeClaim:
                claimName: {quote_yaml(job.claim)}
            - name: memory
              emptyDir:
                medium: Memory
"""


def _yaml_words(job: Job) -> str:
    words = ("-m", "torchloupe", *job.words)
    return "\n".join(f"                - {quote_yaml(word)}" for word in words)


def _yaml_gpus(job: Job) -> str:
    return f"""
              resources:
                limits:
                  nvidia.com/gpu: {job.ranks}"""


def quote_yaml(text: str) -> str:
    """A string of YAML with quotes, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


WRITERS = {"slurm": write_slurm, "k8s": write_kubernetes, "ssh": write_ssh}
FILES = {"slurm": "{name}.sbatch", "k8s": "{name}.yaml", "ssh": "{name}.sh"}
SUBMIT = {"slurm": "sbatch {file}", "k8s": "kubectl apply -f {file}", "ssh": "bash {file}"}


def complete_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a `loupe train` that may be started again; UsageError for another command."""
    if not words or words[0] != "train":
        raise UsageError(
            f"loupe launch starts loupe train, not {printable(words[0]) if words else 'nothing'}",
            "loupe launch slurm --nodes 2 -- train photos/ --out runs/photos",
        )
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        raise UsageError(
            "a run on many machines needs its folder, so that a restart finds it",
            "add --out RUN, on a file system that all hosts share",
        )
    for word in words:
        if word.partition("=")[0] in ("--gpus", "--folds"):
            raise UsageError(
                f"{word.partition('=')[0]} starts processes of its own",
                "leave it out: --ranks says how many each host has",
            )
    return tuple(words) if "--resume" in words else (*words, "--resume")
