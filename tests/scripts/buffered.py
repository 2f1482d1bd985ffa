"""Buffered and text files, against a model, with pread by another descriptor."""
import io
import os
import random
import shutil
import tempfile

dice = random.Random(7)
model = io.BytesIO(b"\0" * 100_000)
with open("file", "wb") as made:
    made.write(model.getvalue())
look = os.open("file", os.O_RDONLY)
with open("file", "r+b") as real:
    for step in range(1500):
        at = dice.randrange(0, 100_000)
        for each in (real, model):
            each.seek(at)
        if dice.random() < 0.5:
            piece = dice.randbytes(dice.randrange(1, 9000))
            assert real.write(piece) == model.write(piece)
            real.flush()
        else:
            count = dice.randrange(1, 9000)
            assert real.read(count) == model.read(count)
        whole = model.getvalue()
        assert os.pread(look, 5000, at) == whole[at:at + 5000], step
    real.truncate(50_000)
    model.truncate(50_000)
assert os.pread(look, 1 << 20, 0) == model.getvalue()
with open("text", "w", encoding="utf-8") as text:
    for n in range(2000):
        print("line", n, file=text)
with open("text", encoding="utf-8") as text:
    assert [line.strip() for line in text] == [f"line {n}" for n in range(2000)]
shutil.copy2("file", "copied")
with open("copied", "rb") as copied:
    assert copied.read() == model.getvalue()
with tempfile.TemporaryFile(dir=".") as nameless:
    nameless.write(b"x" * 50_000)
    nameless.flush()
    assert os.pread(nameless.fileno(), 10, 49_995) == b"xxxxx"
os.replace("copied", "file")
assert os.pread(look, 1 << 20, 0) == model.getvalue()
with open("warm.dat", "rb") as warm:
    first = os.pread(warm.fileno(), 4096, 0)
    for _ in range(100):
        assert os.pread(warm.fileno(), 4096, 0) == first == warm.read(4096)
        warm.seek(0)
print("buffered files agree")
