"""Does file calls on command: a row of processes on strings.

usage: puppets.py COUNT
Forks COUNT - 1 children at the start; together they are puppets 0 to COUNT - 1. Each line on stdin is a
JSON list [WHO, OPERATION, ARGUMENT...]; each answer is one JSON value on a line of stdout, an error
being {"errno": N}. Bytes travel as hex. Whoever pulls the strings keeps the model; nothing is compared
here.
"""
import ctypes
import json
import mmap
import os
import signal
import socket
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.fopen.restype = ctypes.c_void_p
FLAGS = {"r": os.O_RDONLY, "w": os.O_RDWR, "c": os.O_RDWR | os.O_CREAT,
         "t": os.O_RDWR | os.O_CREAT | os.O_TRUNC, "a": os.O_RDWR | os.O_APPEND,
         "d": os.O_RDONLY | os.O_DIRECT}
KEEP_SIZE, PUNCH_HOLE = 1, 2
fds, maps, children = {}, {}, {}


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "libc")
    return result


def do_open(handle, path, flags):
    fds[handle] = os.open(path, FLAGS[flags], 0o644)


def do_close(handle):
    os.close(fds.pop(handle))


def do_pread(handle, at, count):
    return os.pread(fds[handle], count, at).hex()


def do_sweep(handle, at, count, step):
    """Reads a range block by block: many calls, one answer."""
    return b"".join(os.pread(fds[handle], min(step, at + count - n), n)
                    for n in range(at, at + count, step)).hex()


def do_preadv(handle, at, count):
    buffers = [bytearray(count // 3 + n) for n in range(3)]
    got = os.preadv(fds[handle], buffers, at)
    return b"".join(buffers)[:got].hex()


def do_dread(handle, at, count):
    """Reads by O_DIRECT, at and count multiples of 4096."""
    fd = os.open(f"/proc/self/fd/{fds[handle]}", os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, count) as aligned:
        got = os.preadv(fd, [aligned], at)
        os.close(fd)
        return aligned[:got].hex()


def do_sendfile(handle, at, count):
    """What arrives at the other end of a socket."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        sent = os.sendfile(mine.fileno(), fds[handle], at, count)
        mine.close()
        return theirs.recv(sent + 1, socket.MSG_WAITALL).hex()


def do_pwrite(handle, at, data):
    return os.pwrite(fds[handle], bytes.fromhex(data), at)


def do_write(handle, at, data):
    os.lseek(fds[handle], at, os.SEEK_SET)
    return os.write(fds[handle], bytes.fromhex(data))


def do_pwritev(handle, at, data):
    data = bytes.fromhex(data)
    cut = len(data) // 2
    return os.pwritev(fds[handle], [data[:cut], data[cut:]], at)


def do_fwrite(path, at, data):
    data = bytes.fromhex(data)
    stream = ctypes.c_void_p(libc.fopen(path.encode(), b"r+"))
    libc.fseek(stream, ctypes.c_long(at), 0)
    done = libc.fwrite(data, 1, len(data), stream)
    checked(-libc.fclose(stream))
    return done


def do_ftruncate(handle, size):
    os.ftruncate(fds[handle], size)


def do_truncate(path, size):
    os.truncate(path, size)


def do_allocate(handle, at, count):
    os.posix_fallocate(fds[handle], at, count)


def do_punch(handle, at, count):
    checked(libc.fallocate(fds[handle], KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(at),
                           ctypes.c_long(count)))


def do_store(path, at, data):
    """Stores through a mapping that lives no longer than the store."""
    data = bytes.fromhex(data)
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 0) as view:
        os.close(fd)
        view[at:at + len(data)] = data


def do_map(handle, path):
    fd = os.open(path, os.O_RDWR)
    maps[handle] = mmap.mmap(fd, 0)
    os.close(fd)


def do_poke(handle, at, data):
    data = bytes.fromhex(data)
    maps[handle][at:at + len(data)] = data


def do_unmap(handle):
    maps.pop(handle).close()


def do_rename(old, new):
    os.rename(old, new)


def do_unlink(path):
    os.unlink(path)


def do_copy(source, at, target, to, count):
    return os.copy_file_range(fds[source], fds[target], count, at, to)


def do_drop(handle):
    os.fsync(fds[handle])
    os.posix_fadvise(fds[handle], 0, 0, os.POSIX_FADV_DONTNEED)


def do_device_bytes():
    """Bytes this process made the device read."""
    with open("/proc/self/io", encoding="ascii") as table:
        return int(dict(row.split(": ") for row in table)["read_bytes"])


def do_pid():
    return os.getpid()


def do_spawn(name, *words):
    children[name] = subprocess.Popen(words)


def do_kill(name):
    child = children.pop(name)
    child.send_signal(signal.SIGKILL)
    return child.wait()


def do_settle(user):
    """Gives all rights up but those of a user and of no group."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def do_borrow(user):
    os.seteuid(user)


def do_chroot(path):
    os.chroot(path)


def scribble():
    """Random bytes all over the mapped regions, until the parent is gone."""
    with open("/proc/self/maps", encoding="ascii") as table:
        rows = [row.split()[0].split("-") for row in table if "memfd:ramgrid" in row]
    parent = os.getppid()
    while os.getppid() == parent:
        for start, end in ((int(word, 16) for word in row) for row in rows):
            for at in range(start, end, 65536):
                count = min(65536, end - at)
                ctypes.memmove(at, os.urandom(count), count)


def do_scribble():
    children["scribbler"] = os.fork()
    if children["scribbler"] == 0:
        scribble()
        os._exit(0)


def do_still():
    """The scribbler must be at it until now."""
    pid = children.pop("scribbler")
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it died"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def obey(line):
    _, operation, *arguments = json.loads(line)
    try:
        return json.dumps(globals()["do_" + operation](*arguments))
    except OSError as error:
        return json.dumps({"errno": error.errno})


def serve(lines, answers):
    for line in lines:
        answers.write(obey(line) + "\n")
        answers.flush()


def main():
    strings = []
    for _ in range(int(sys.argv[1]) - 1):
        mine, theirs = socket.socketpair()
        if os.fork() == 0:
            mine.close()
            end = theirs.makefile("rw")
            serve(end, end)
            os._exit(0)
        theirs.close()
        strings.append(mine.makefile("rw"))
    for line in sys.stdin:
        who = json.loads(line)[0]
        if who == 0:
            answer = obey(line)
        else:
            strings[who - 1].write(line)
            strings[who - 1].flush()
            answer = strings[who - 1].readline().rstrip("\n")
        print(answer, flush=True)


main()
