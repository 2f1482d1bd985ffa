"""Processes of every kind, each reading and writing shared files."""
import hashlib
import multiprocessing
import os
import subprocess
import sys

READ = """
import hashlib, os, sys
fd = os.open("warm.dat", os.O_RDONLY)
digest = hashlib.sha256()
for _ in range(3):
    for at in range(0, 64 * 4096, 4096):
        digest.update(os.pread(fd, 4096, at))
print(digest.hexdigest())
"""


def look(_):
    fd = os.open("warm.dat", os.O_RDONLY)
    digest = hashlib.sha256()
    for at in range(0, 64 * 4096, 4096):
        digest.update(os.pread(fd, 4096, at))
    os.close(fd)
    return digest.hexdigest()


def bump(lock, rounds):
    fd = os.open("counter", os.O_RDWR)
    for _ in range(rounds):
        with lock:
            value = int.from_bytes(os.pread(fd, 8, 4096), "little")
            os.pwrite(fd, (value + 1).to_bytes(8, "little"), 4096)
            assert int.from_bytes(os.pread(fd, 8, 4096), "little") == value + 1
    os.close(fd)


def main():
    expected = look(0)
    print(expected)
    for close_fds in (True, False):
        done = subprocess.run([sys.executable, "-S", "-c", READ], capture_output=True, text=True,
                              close_fds=close_fds, check=True)
        print(done.stdout.strip())
    bare = subprocess.run([sys.executable, "-S", "-c", READ], capture_output=True, text=True,
                          env={}, check=True)
    print(bare.stdout.strip())
    shell = subprocess.run("sha256sum warm.dat | cut -c1-20; exit 9", shell=True,
                           capture_output=True, text=True)
    print(shell.stdout.strip(), shell.returncode)

    for status in (0, 7):
        pid = os.fork()
        if pid == 0:
            os._exit(status if look(0) == expected else 99)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    with open("counter", "wb") as counter:
        counter.write(bytes(16384))
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            assert set(pool.map(look, range(12))) == {expected}
        lock = context.Lock()
        workers = [context.Process(target=bump, args=(lock, 200)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(method, [worker.exitcode for worker in workers])
    with open("counter", "rb") as counter:
        print(int.from_bytes(os.pread(counter.fileno(), 8, 4096), "little"))


if __name__ == "__main__":
    main()
