"""Random transactions of two processes on one LMDB environment, compared with a model.

Works in the current directory, prints a digest of the content. Each step runs to its end before the next
begins, in one process or the other, so what a transaction reads has one right answer.
"""
import hashlib
import multiprocessing
import random

import lmdb


def work(pipe):
    env = lmdb.open("env", map_size=1 << 26, writemap=False)
    while (order := pipe.recv()) is not None:
        changes, dump = order
        with env.begin(write=bool(changes)) as txn:
            for key, value in changes:
                if value is None:
                    txn.delete(key)
                else:
                    txn.put(key, value)
            found = dict(txn.cursor()) if dump else None
        pipe.send(found)
    env.close()


def main():
    dice, model, pipes = random.Random(9), {}, []
    spawn = multiprocessing.get_context("fork")
    for _ in range(2):
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=work, args=(theirs,))
        process.start()
        pipes.append((mine, process))
    for step in range(150):
        changes = []
        for _ in range(dice.randrange(40)):
            key = b"%06d" % dice.randrange(2000)
            value = dice.randbytes(dice.choice((10, 500, 6000))) if dice.random() < 0.8 else None
            changes.append((key, value))
        for key, value in changes:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        pipe, _ = dice.choice(pipes)
        pipe.send((changes, step % 10 == 9))
        found = pipe.recv()
        assert found is None or found == model, f"step {step}: other content"
    for pipe, process in pipes:
        pipe.send(([], True))
        assert pipe.recv() == model
        pipe.send(None)
        process.join()
        assert process.exitcode == 0
    print(hashlib.sha256(repr(sorted(model.items())).encode()).hexdigest())


main()
