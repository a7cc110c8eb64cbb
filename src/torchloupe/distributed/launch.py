"""Starting a command once for each GPU, through torch's elastic launcher."""

import logging
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from torchloupe.errors import RankFailed, ResourceError


def launch(ranks: int, arguments: Sequence[str]) -> None:
    """Run `python -m torchloupe ARGUMENTS` on `ranks` ranks of this machine, to its end.

    Raises RankFailed with the exit code of the rank that failed first, which has printed its error;
    ResourceError if a rank was killed. Ends all other ranks first, and all on a signal.
    """
    for name in ("torch.distributed.elastic", "torch.distributed.run"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # ranks say themselves what happened
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "torchloupe", *arguments)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        said = [code for code in codes if code > 0]
        rank, failure = error.get_first_failure()
        if said:
            raise RankFailed(f"rank {rank} failed", said[0]) from None
        raise ResourceError(
            f"rank {rank} was killed by signal {-failure.exitcode}",
            "see dmesg: the kernel kills what uses too much memory; `loupe resume RUN` continues",
        ) from None
    except SignalException as stop:
        code = 130 if stop.sigval == signal.SIGINT else 143
        raise RankFailed(f"stopped by signal {int(stop.sigval)}", code) from None
