"""`loupe predict RUN SHARDS --out DIR --on ray`: the shards are divided among a cluster of Ray.

Without RAY_ADDRESS a cluster of this machine is started. A worker that is lost is started again by
Ray, and goes on with the files that are missing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchloupe.data.shards.addresses import is_url
from torchloupe.data.sources.shard_inputs import open_inputs
from torchloupe.deploy.artefact.opened import open_labeller
from torchloupe.errors import LoupeError, ResourceError, UsageError, printable
from torchloupe.trained.bulk import Asked, Outbox, Part, predict_shards

PORTIONS = 4  # of the shards for each worker, so that a fast one does more of them
TRIES = 3  # that a lost worker is started again


class Worker:
    """One process of the cluster, which opens the run and the shards once."""

    def __init__(
        self, run: str, shards: Sequence[str], out: str, asked: Asked, options: dict[str, Any]
    ) -> None:
        self._opened = open_labeller(run, fast=asked.fast, views=asked.views, **options)
        self._inputs, self._box, self._asked = open_inputs(shards), Outbox(out), asked

    def predict(self, portion: int, portions: int) -> list[Part]:
        """The parts of every `portions`-th shard, from number `portion` on."""
        ranks = (portion, portions)
        return predict_shards(self._opened, self._inputs, self._asked, self._box, ranks)


def predict_on_ray(
    places: tuple[str, Sequence[str], str],
    total: int,
    asked: Asked,
    workers: int | None,
    options: dict[str, Any],
    progress: Callable[[int, int], None],
) -> list[Part]:
    """The parts of all shards, made by `workers` processes, or one for each GPU or core there is.

    `places` are the run, the shards, `total` of them, and the folder for the parts. UsageError if
    Ray is not installed; ResourceError if workers are lost again and again.
    """
    ray = import_ray()
    run, shards, out = places
    parts: list[Part] = []
    with joined(ray):
        kind, have = find_resource(ray.cluster_resources())
        count = max(1, min(total, have)) if workers is None else workers
        if count > have:
            raise UsageError(
                f"--ranks {count} needs as many {kind}s, and the cluster has {have}",
                "leave --ranks out to use all of them",
            )
        needs = {f"num_{kind.lower()}s": 1}
        kept = ray.remote(max_restarts=TRIES, max_task_retries=TRIES, **needs)(Worker)
        whole = (_absolute(run), [_absolute(text) for text in shards], _absolute(out))
        pool = ray.util.ActorPool([kept.remote(*whole, asked, options) for _ in range(count)])
        portions = min(total, PORTIONS * count)
        for some in pool.map_unordered(
            lambda actor, portion: actor.predict.remote(portion, portions), range(portions)
        ):
            parts += some
            progress(len(parts), total)
    return parts


@contextmanager
def joined(ray: Any) -> Iterator[None]:
    """A context in which this process is part of a cluster; what workers raise is raised here."""
    was_joined = ray.is_initialized()
    if not was_joined:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LoupeError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ResourceError(
            f"workers of Ray were lost: {printable(error, 300)}",
            "see the cluster's own logs; the same command goes on with the files that are missing",
        ) from None
    finally:
        if not was_joined:
            ray.shutdown()


def find_resource(resources: Mapping[str, float]) -> tuple[str, int]:
    """What each worker gets one of, and how many there are: GPUs, or else cores."""
    kind = "GPU" if resources.get("GPU", 0) >= 1 else "CPU"
    return kind, max(1, int(resources.get(kind, 1)))


def import_ray() -> Any:
    """The package ray with what is used of it; UsageError if it is not installed."""
    try:
        import ray
        import ray.exceptions
        import ray.util
    except ImportError:
        raise UsageError(
            "--on ray needs the package ray", "pip install 'torchloupe[ray]'"
        ) from None
    return ray


def _absolute(text: str) -> str:
    """`text` as every process of the cluster understands it: a URL, or a whole path."""
    return text if is_url(text) else str(Path(text).expanduser().absolute())
