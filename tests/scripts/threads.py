"""Threads that read one file while others rewrite another, each block under its lock."""
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

BLOCKS = 32
warm = os.open("warm.dat", os.O_RDONLY)
mine = os.open("mine", os.O_RDWR | os.O_CREAT, 0o644)
os.pwrite(mine, bytes(BLOCKS * 4096), 0)
locks = [threading.Lock() for _ in range(BLOCKS)]
versions = [0] * BLOCKS
expected = [os.pread(warm, 4096, n * 4096) for n in range(64)]


def life(seed):
    for step in range(300):
        n = (seed * 7 + step) % BLOCKS
        with locks[n]:
            content = os.pread(mine, 4096, n * 4096)
            assert content == bytes([versions[n] & 255]) * 4096, (seed, step)
            versions[n] += 1
            os.pwrite(mine, bytes([versions[n] & 255]) * 4096, n * 4096)
            assert os.pread(mine, 4096, n * 4096) == bytes([versions[n] & 255]) * 4096
        assert os.pread(warm, 4096, (step % 64) * 4096) == expected[step % 64]
    return seed


with ThreadPoolExecutor(12) as pool:
    print(list(pool.map(life, range(24))))
print(sum(versions), hashlib.sha256(os.pread(mine, 1 << 20, 0)).hexdigest())
