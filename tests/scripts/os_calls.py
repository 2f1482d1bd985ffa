"""Random calls of the os module on a few files, against a model in memory."""
import errno
import hashlib
import os
import random

dice = random.Random(20240607)
NAMES = ["a", "b", "c"]
model = {}
digest = hashlib.sha256()


def grow(data, size):
    if len(data) < size:
        data.extend(bytes(size - len(data)))


def put(data, at, piece):
    grow(data, at)
    data[at:at + len(piece)] = piece


fds = {}
for name in NAMES:
    fds[name] = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    model[name] = bytearray()

for step in range(3000):
    name = dice.choice(NAMES)
    fd, data = fds[name], model[name]
    at = dice.randrange(0, 150_000)
    count = dice.choice([1, 100, 4096, 8192, 20_000])
    what = dice.randrange(14)
    if what == 0:
        piece = dice.randbytes(count)
        assert os.pwrite(fd, piece, at) == count
        put(data, at, piece)
    elif what == 1:
        pieces = [dice.randbytes(count // 4 + 1) for _ in range(4)]
        assert os.pwritev(fd, pieces, at) == sum(map(len, pieces))
        put(data, at, b"".join(pieces))
    elif what == 2:
        os.lseek(fd, at, os.SEEK_SET)
        piece = dice.randbytes(count)
        assert os.write(fd, piece) == count
        put(data, at, piece)
    elif what == 3:
        size = dice.randrange(0, 160_000)
        os.ftruncate(fd, size)
        del data[size:]
        grow(data, size)
    elif what == 4:
        os.posix_fallocate(fd, at, count)
        grow(data, at + count)
    elif what == 5:
        other = dice.choice([n for n in NAMES if n != name])
        moved = os.copy_file_range(fd, fds[other], count, at, at // 2)
        assert moved == len(data[at:at + count]), (moved, step)
        if moved:
            put(model[other], at // 2, bytes(data[at:at + count]))
    elif what == 6 and step % 7 == 0:
        os.close(fd)
        os.rename(name, name + ".old")
        fd = fds[name] = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        model[name] = bytearray()
        old = os.open(name + ".old", os.O_RDONLY)
        assert os.pread(old, 1 << 20, 0) == bytes(data)
        os.close(old)
        os.unlink(name + ".old")
    elif what == 7:
        # reopen under another number
        fds[name] = os.dup(fd)
        os.close(fd)
    elif what in (8, 9):
        buffers = [bytearray(count // 3 + 1) for _ in range(3)]
        got = os.preadv(fd, buffers, at)
        assert b"".join(buffers)[:got] == bytes(data[at:at + sum(map(len, buffers))]), step
    else:
        assert os.pread(fd, count, at) == bytes(data[at:at + count]), step
        warm = os.open("warm.dat", os.O_RDONLY)
        digest.update(os.pread(warm, 4096, (step % 64) * 4096))
        os.close(warm)

for name in NAMES:
    assert os.fstat(fds[name]).st_size == len(model[name])
    assert os.pread(fds[name], 1 << 20, 0) == bytes(model[name])
    digest.update(model[name])
try:
    os.pread(fds["a"], 10, -1)
except OSError as error:
    assert error.errno == errno.EINVAL
print("digest", digest.hexdigest())
