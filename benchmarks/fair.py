"""The whole comparison in about half an hour: `python benchmarks/run.py --fair 30`.

All peers that are installed, three repeats, and the shortest work that still tells: starting,
the cost of a step, images a second at one batch size, and seconds to 87 % on Fashion-MNIST, which
peers reach in one or two epochs. Each peer's workers and threads are chosen once, for both of
the last two. Where the machine is slower, the last table has fewer rounds, and says how many.
"""

import time
from collections.abc import Callable

import accuracy
import images
import start
from peers import PEERS
from table import Table

import steps

REPEATS = 3
STEPS = 150  # of images a second
WANTED = 0.87  # of the test images
OUR_MINUTES = (0.06, 0.12, 0.25)  # the first of them that reaches it with seed 0 is taken
IMAGES_SHARE = 0.6  # of all the time, by which images a second are to be done


def tables(minutes: float) -> dict[str, Callable[[], Table]]:
    """Each table, to be made in this order, by its name; the time counts from now."""
    begin, seconds = time.monotonic(), 60 * minutes
    chosen = {}

    def rate() -> Table:
        for peer in PEERS:
            chosen[peer] = images.best_settings(peer, images.BATCHES[0], STEPS)
        return images.make_table(
            REPEATS,
            batches=images.BATCHES[:1],
            steps=STEPS,
            known=chosen,
            until=begin + IMAGES_SHARE * seconds,
        )

    def reach() -> Table:
        minutes = next(
            (
                given
                for given in OUR_MINUTES
                if accuracy.measure_ours(0, given)["accuracy"] >= WANTED
            ),
            OUR_MINUTES[-1],
        )
        return accuracy.make_table(
            REPEATS, wanted=WANTED, minutes=minutes, known=chosen, until=begin + seconds
        )

    return {
        "start": lambda: start.make_table(REPEATS),
        "steps": lambda: steps.make_table(REPEATS),
        "images": rate,
        "accuracy": reach,
    }
