"""Reads one file over and over, in several processes, while somebody else changes it.

usage: onlookers.py COUNT FILE CMD [ARG]...
Forks COUNT readers, runs CMD to its end, ends the readers, and exits as CMD did. What the readers see is
not compared: they are here to fill the cache from other processes, at every moment of a change.
"""
import os
import random
import signal
import subprocess
import sys
import time


def look(path):
    fd = None
    while True:
        try:
            fd = os.open(path, os.O_RDONLY) if fd is None else fd
            for _ in range(50):
                os.pread(fd, random.choice((512, 4096, 20000)), random.randrange(1 << 18))
        except FileNotFoundError:
            pass
        time.sleep(0.002)


def main():
    readers = []
    for seed in range(int(sys.argv[1])):
        pid = os.fork()
        if pid == 0:
            random.seed(seed)
            look(sys.argv[2])
        readers.append(pid)
    status = subprocess.run(sys.argv[3:]).returncode
    for pid in readers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    sys.exit(status)


main()
