"""Every table, or those asked for, by one command.

python benchmarks/run.py                             # all of them: about four hours
python benchmarks/run.py --only start,steps          # two of them
python benchmarks/run.py --quick                     # does everything run? no figure counts
python benchmarks/run.py --only folder --save        # written to benchmarks/results/ as well
python benchmarks/run.py --only steps --peers lightning    # beside one peer, in a few minutes
python benchmarks/run.py --only images --avx2        # with AVX2 alone, imitated
python benchmarks/run.py --fair 30                   # a short comparison with all peers: 30 minutes
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial

import accuracy
import exactness
import fair
import folder
import heap
import images
import large
import memory
import minutes
import precision
import start
from peers import PEERS
from table import Table, describe_hardware, describe_versions, imitate_avx2
from turns import say

import steps

TABLES: dict[str, Callable[..., Table]] = {
    "start": start.make_table,
    "steps": steps.make_table,
    "heap": heap.make_table,
    "large": large.make_table,
    "memory": memory.make_table,
    "folder": folder.make_table,
    "minutes": minutes.make_table,
    "precision": precision.make_table,
    "exactness": exactness.make_table,
    "images": images.make_table,
    "accuracy": accuracy.make_table,
}


def main(arguments: list[str]) -> int:
    """Print the tables; 1 if one of them could not be made."""
    parser = argparse.ArgumentParser(description="Measure torchloupe and its peers.")
    parser.add_argument("--only", default=",".join(TABLES), help="tables, separated by commas")
    parser.add_argument("--peers", default=",".join(PEERS), help="beside these, where it has peers")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement; 5 is least")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--save", action="store_true", help="write each table to results/ as well")
    parser.add_argument("--minutes", type=float, help="of torchloupe, in the table of accuracy")
    parser.add_argument("--avx2", action="store_true", help="imitate a CPU with AVX2 alone")
    parser.add_argument("--fair", type=float, metavar="MINUTES", help="a short one with all peers")
    chosen = parser.parse_args(arguments)
    names = chosen.only.split(",")
    if unknown := set(names) - TABLES.keys():
        parser.error(f"there is no table {', '.join(sorted(unknown))}; there are {list(TABLES)}")
    asked = chosen.peers.split(",")
    if unknown := set(asked) - PEERS.keys():
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {list(PEERS)}")
    for peer in set(PEERS) - set(asked):
        del PEERS[peer]  # here alone: each contender has a process of its own
    if chosen.save and (chosen.quick or chosen.repeats < 5):
        parser.error("--save needs 5 repeats or more, of the full sizes")
    if chosen.fair and (chosen.save or chosen.quick or names != [*TABLES]):
        parser.error("--fair has its own tables and sizes, and isn't saved")
    if chosen.avx2:
        imitate_avx2()
        images.PRECISIONS.pop(images.OURS_BF16)  # oneDNN would compute it, but without instructions
        images.BATCHES = images.BATCHES[:1]
    if chosen.minutes:
        TABLES["accuracy"] = partial(accuracy.make_table, minutes=chosen.minutes)
    made_by = (
        fair.tables(chosen.fair)
        if chosen.fair
        else {n: partial(TABLES[n], chosen.repeats, quick=chosen.quick) for n in names}
    )
    print(f"{describe_hardware()}. {describe_versions()}.\n", flush=True)
    code = 0
    for name, make_table in made_by.items():
        say(f"== {name}")
        load = os.getloadavg()[0]
        try:
            table = make_table()
        except Exception as error:  # one table that fails must not cost those after it
            say(f"{name} failed: {type(error).__name__}: {error}")
            code = 1
            continue
        table.notes.append(f"load of the machine before: {load:.1f} on {os.cpu_count()} cores")
        if chosen.quick:
            table.notes.append("quick: sizes are far too small for any of these figures to count")
        print(table.to_markdown(), flush=True)
        if chosen.save:
            words = ["--only", name, "--repeats", str(chosen.repeats), "--save"]
            words += ["--avx2"] if chosen.avx2 else []
            words += ["--minutes", f"{chosen.minutes:g}"] if chosen.minutes else []
            words += (
                ["--peers", chosen.peers] if chosen.peers != parser.get_default("peers") else []
            )
            say(f"written to {table.save('python benchmarks/run.py ' + shlex.join(words))}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
