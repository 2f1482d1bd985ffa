"""Point reads of a SQLite table by primary key; the worker of `lab run --workload sqlite`.

An ordinary Python program: the sqlite3 module, the system's libsqlite3, nothing else. Reads orders
from standard input (`slice MS`, `pass`) and answers with one line of JSON each.
"""

import json
import random
import sqlite3
import sys
import time


def main():
    connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    rows = connection.execute("SELECT max(id) FROM t").fetchone()[0]
    for line in sys.stdin:
        words = line.split()
        begun = time.monotonic_ns()
        if words[0] == "slice":
            ops = points(connection, rows, begun + int(words[1]) * 1_000_000)
        else:
            ops = connection.execute("SELECT count(*), sum(length(body)) FROM t").fetchone()[0]
        answer = {"ops": ops, "ns": time.monotonic_ns() - begun}
        print(json.dumps(answer), flush=True)


def points(connection, rows, end):
    ops = 0
    while time.monotonic_ns() < end:
        for _ in range(8):
            key = random.randint(1, rows)
            found = connection.execute("SELECT id, body FROM t WHERE id = ?", (key,)).fetchone()
            if found is None or found[0] != key:
                sys.exit(f"row {key} is not there: {found}")
        ops += 8
    return ops


main()
