"""Mappings and pread of one file must agree, whoever stores."""
import mmap
import os

SIZE = 16 * 4096
fd = os.open("mapped", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
os.pwrite(fd, b"\1" * SIZE, 0)
for _ in range(5):
    assert os.pread(fd, SIZE, 0) == b"\1" * SIZE
with mmap.mmap(fd, SIZE) as view:
    for step in range(200):
        at = (step % 16) * 4096
        view[at:at + 4] = step.to_bytes(4, "little")
        assert os.pread(fd, 4, at) == step.to_bytes(4, "little")
        os.pwrite(fd, b"pwrite", at + 100)
        assert view[at + 100:at + 106] == b"pwrite"
    pid = os.fork()
    if pid == 0:
        view[0:5] = b"child"
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.pread(fd, 5, 0) == b"child"
    view.flush()
assert os.pread(fd, 5, 0) == b"child"
os.pwrite(fd, b"after", 0)
assert os.pread(fd, 5, 0) == b"after"
with mmap.mmap(fd, SIZE, prot=mmap.PROT_READ) as view:
    assert view[0:5] == b"after"
    os.pwrite(fd, b"again", 0)
    assert view[0:5] == b"again" and os.pread(fd, 5, 0) == b"again"
warm = os.open("warm.dat", os.O_RDONLY)
with mmap.mmap(warm, 0, prot=mmap.PROT_READ) as view:
    for at in range(0, 64 * 4096, 4096):
        assert os.pread(warm, 4096, at) == view[at:at + 4096]
print("mappings and reads agree")
