"""Scripts that start a run on many machines: read by the programs that they are for."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from torchloupe.cli.main import run

ODD = 'my photos/it\'s $HOME "1"; # é'
TRAIN = ["train", ODD, "--out", "runs/it's", "--set", "model.options.width=16"]


def launched(capsys, *words):
    """What `loupe launch` prints on stdout."""
    assert run(["launch", *words, "--print", "--", *TRAIN]) == 0
    return capsys.readouterr().out


def check_bash(text, tmp_path):
    """bash can read it, and shellcheck has nothing to say but that $ is no variable."""
    path = tmp_path / "script.sh"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checker = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    if Path(checker).exists():
        done = subprocess.run(
            [checker, "--exclude=SC2016", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


FAKE = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0")" "$@" >> "$CALLS"
"""


def run_with(text, tmp_path, *fakes, **variables):
    """Run a script where `fakes` note the words that they are called with."""
    for name in fakes:
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls), **variables}
    done = subprocess.run(
        ["bash", "-c", text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return calls.read_text(encoding="utf-8").splitlines()


def test_slurm_starts_torchrun_on_each_node_with_every_word(tmp_path, capsys):
    text = launched(capsys, "slurm", "--nodes", "4", "--ranks", "8", "--minutes", "90")
    check_bash(text, tmp_path)
    heads = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert heads == text.splitlines()[1 : 1 + len(heads)]  # Slurm reads them up to the first word
    assert {"#SBATCH --nodes=4", "#SBATCH --gpus-per-node=8", "#SBATCH --time=01:30:00"} < {*heads}
    assert "#SBATCH --exclusive" in heads  # else a task has one core
    variables = {"SLURM_JOB_NODELIST": "a", "SLURM_NNODES": "4", "SLURM_JOB_ID": "7"}
    calls = run_with(text, tmp_path, "srun", "scontrol", **variables)
    words = calls[calls.index("srun") :]
    assert words[2:5] == ["torchrun", "--nproc-per-node=8", "--max-restarts=3"]
    assert "--nnodes=4" in words
    assert words[words.index("torchloupe") + 1 :] == [*TRAIN, "--resume"]


def test_ssh_starts_every_host_with_every_word(tmp_path, capsys):
    text = launched(capsys, "ssh", "--hosts", "one, me@two", "--ranks", "2")
    check_bash(text, tmp_path)
    calls = run_with(text, tmp_path, "ssh")
    starts = [n for n, word in enumerate(calls) if word == "ssh"]
    assert len(starts) == 2
    remote = "\n".join(calls).split("cd ")[1]
    inner = remote.split("&& exec ", 1)[1].split("\nssh")[0]
    words = shlex.split(inner.replace("\\\n", " "))
    assert words[:3] == ["env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1", "torchrun"]
    assert {"--nnodes=2", "--nproc-per-node=2", "--rdzv-endpoint=one:29500"} < set(words)
    assert words[words.index("torchloupe") + 1 :] == [*TRAIN, "--resume"]


def test_kubernetes_gets_a_pytorchjob_with_every_word(capsys):
    text = launched(
        capsys, "k8s", "--image", "me/loupe:1", "--claim", "data", "--nodes", "3", "--ranks", "4"
    )
    (job,) = yaml.safe_load_all(text)
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    assert worker["replicas"] == 3 == job["spec"]["elasticPolicy"]["maxReplicas"]
    assert job["spec"]["nprocPerNode"] == "4"
    assert container["args"] == ["-m", "torchloupe", *TRAIN, "--resume"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 4}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"shared": "/shared", "memory": "/dev/shm"}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    cpu = launched(capsys, "k8s", "--image", "i", "--claim", "c", "--cpu")
    assert "nvidia" not in cpu and yaml.safe_load(cpu)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slrum", "--", *TRAIN], "did you mean 'slurm'?"),
        (["slurm", "--", "train", "photos"], "add --out RUN"),
        (["slurm", *TRAIN, "--batch", "2"], "options of the training stand behind --"),
        (["slurm", "--", "predict", "x"], "starts loupe train, not predict"),
        (["slurm", "--", *TRAIN, "--gpus", "2"], "--gpus starts processes of its own"),
        (["slurm", "--", *TRAIN, "--folds=2"], "--folds starts processes of its own"),
        (["slurm", "--", *TRAIN, "--epoch", "2"], "did you mean '--epochs'"),
        (["slurm", "--", *TRAIN, "--set", "optimizer.lrr=1"], "did you mean 'optimizer.lr'"),
        (["slurm", "--", *TRAIN, "--set", "augment.mixup=1000"], "augment.mixup=1000"),
        (["slurm", "--name", "A b", "--", *TRAIN], "no name of a job"),
        (["ssh", "--", *TRAIN], "--hosts one,two"),
        (["ssh", "--hosts", "one,-oProxyCommand=x", "--", *TRAIN], "is no name of a host"),
        (["k8s", "--", *TRAIN], "kubernetes needs --image"),
    ],
)
def test_what_cannot_be_launched_is_refused(words, message, capsys):
    assert run(["launch", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_print_a_file_is_written_and_none_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["launch", "slurm", "--name", "job", "--", *TRAIN]) == 0
    said = capsys.readouterr()
    assert said.out == "job.sbatch\n"
    assert said.err == "start it with: sbatch job.sbatch\n"
    assert (tmp_path / "job.sbatch").read_text().startswith("#!/usr/bin/env bash\n#SBATCH")
    assert run(["launch", "slurm", "--name", "job", "--", *TRAIN]) == 2
    assert "job.sbatch exists" in capsys.readouterr().err
