"""Point reads of a SQLite table by key: an ordinary program, to be run with and without hooktool."""

import random
import sqlite3
import sys
import time

ROWS = 200_000
SECONDS = 5


def main():
    connection = sqlite3.connect(sys.argv[1])
    connection.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, body BLOB)")
    if connection.execute("SELECT count(*) FROM t").fetchone()[0] == 0:
        rows = ((number, random.randbytes(400)) for number in range(1, ROWS + 1))
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.commit()
    last = connection.execute("SELECT max(id) FROM t").fetchone()[0]
    done = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        key = random.randint(1, last)
        body = connection.execute("SELECT body FROM t WHERE id = ?", (key,)).fetchone()
        if body is None:
            sys.exit(f"row {key} is missing")
        done += 1
    print(f"{done / SECONDS:.0f} reads/s")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: point_reads.py DATABASE")
    main()
