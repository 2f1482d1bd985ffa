"""Holds two connections to a database open and does what lines of JSON on stdin say.

["write", SCRIPT]: run the script in one connection. ["read", ""]: integrity check and content through
the other, as the sqlite3 shell would print them. Each answer is one JSON string.
"""
import json
import sqlite3
import sys


def connect(path):
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    db.execute("pragma cache_size=8")
    return db


writer, reader = connect(sys.argv[1]), connect(sys.argv[1])
for line in sys.stdin:
    order, script = json.loads(line)
    answer = "written"
    if order == "write":
        sql = "\n".join(row for row in script.splitlines() if not row.startswith("."))
        writer.executescript(sql)
    else:
        rows = [reader.execute("pragma integrity_check").fetchone()[0]]
        rows += [f"{key}|{body}" for key, body in
                 reader.execute("select id, body from t order by id")]
        rows.append(str(reader.execute("select count(*) from (select body from t indexed by "
                                       "by_body order by body)").fetchone()[0]))
        answer = "\n".join(rows) + "\n"
    print(json.dumps(answer), flush=True)
