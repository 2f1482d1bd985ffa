"""The package against itself: run by `make test` with the interpreter the package is built for.

    python -m unittest discover bus/python/tests
"""

import asyncio
import hashlib
import inspect
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import ramgrid_bus
from ramgrid_bus import Bus, BusError, Empty, Forked, Full, InUse, NoChannel, Reader, TooLarge

A, B = "0.0.1.1", "0.0.2.1"


class Bed(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.addCleanup(self.directory.cleanup)
        self.name = self.directory.name + "/bus"
        self.bus = Bus(self.name)
        self.bus.create(A, B, send=1 << 16, receive=1 << 16)


class Messages(Bed):
    def test_go_both_ways_and_are_told_apart(self):
        self.assertEqual(self.bus.channels(), [(A, B)])
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            self.assertEqual((a.address, a.peers), (A, [B]))
            self.assertEqual(a.send(B, b"hello"), 1)
            message = b.receive(0)
            self.assertEqual((bytes(message), len(message), message.seq), (b"hello", 5, 1))
            self.assertEqual((message.source, message.destination), (A, B))
            self.assertFalse(message.is_redelivered or message.is_test or message.is_backward)
            b.answer(b"yes")
            answer = a.receive(0)
            self.assertTrue(answer.is_backward and bytes(answer) == b"yes")

    def test_are_iterated_over(self):
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            for n in range(100):
                a.send(B, b"%d" % n)
            got = []
            for message in b:
                got.append(int(bytes(message)))
                if got[-1] == 99:
                    break
            self.assertEqual(got, list(range(100)))

    def test_go_many_at_a_time(self):
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            self.assertEqual(a.send_many(B, [b"x%d" % n for n in range(50)]), 50)
            got = b.receive_many(20) + b.receive_many(100)
            self.assertEqual(got, [b"x%d" % n for n in range(50)])
            sent = a.send_many(B, [bytes(10000)] * 50, timeout=0)
            self.assertTrue(1 <= sent <= 6, sent)
            with self.assertRaises(Full):
                a.send_many(B, [bytes(10000)], timeout=0)

    def test_take_any_buffer(self):
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            for data in [bytearray(b"abc"), memoryview(b"abc"), b"abc"]:
                a.send(B, data)
                self.assertEqual(bytes(b.receive(0)), b"abc")
            a.send(B, b"")
            self.assertEqual((len(b.receive(0)), bool(b), ), (0, True))
            with self.assertRaises(TypeError):
                a.send(B, "text")
            with self.assertRaises(BufferError):
                a.send(B, memoryview(b"abcdef")[::2])


class Views(Bed):
    def test_lie_in_the_ring_and_hold_it(self):
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            a.send(B, b"first")
            a.send(B, b"second")
            first = b.receive(0)
            view = first.payload
            self.assertTrue(view.readonly and view == b"first")
            for refused in [b.receive, b.acknowledge, b.close, b.receive_many]:
                with self.assertRaises(BufferError):
                    refused()
            view.release()
            self.assertEqual(bytes(b.receive(0)), b"second")
            with self.assertRaises(BufferError):
                memoryview(first)

    def test_see_the_bytes_of_the_file_itself(self):
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            a.send(B, b"written in place")
            message = b.receive(0)
            (path,) = Path(self.name).glob("*.channel")
            with message.payload as view, open(path, "r+b") as file:
                at = file.read().index(b"written in place")
                os.pwrite(file.fileno(), b"W", at)
                self.assertEqual(bytes(view), b"Written in place")


class Ends(Bed):
    def test_a_close_acknowledges_and_an_exception_does_not(self):
        with self.bus.bind(A) as a:
            a.send(B, b"one")
            a.send(B, b"two")
        with self.assertRaises(KeyError), self.bus.bind(B) as b:
            b.receive(0)
            raise KeyError
        with self.bus.bind(B) as b:
            again = b.receive(0)
            self.assertTrue(again.is_redelivered and bytes(again) == b"one")
            second = b.receive(0)
            self.assertFalse(second.is_redelivered)
        with self.bus.bind(B) as b, self.assertRaises(Empty):
            b.receive(0)
        with self.assertRaises(ValueError):
            b.receive(0)

    def test_errors_are_told_apart(self):
        with self.bus.bind(A) as a:
            with self.assertRaises(InUse) as caught:
                self.other_process("Bus(sys.argv[1]).bind('0.0.1.1')")
            self.assertIn(str(os.getpid()), str(caught.exception))
            with self.assertRaises(NoChannel):
                a.send("0.0.9.9", b"")
            with self.assertRaises(TooLarge):
                a.send(B, bytes(1 << 15))
            with self.assertRaises(Empty):
                a.receive(0.01)
            with self.assertRaises(ValueError):
                a.receive(-1)
            with self.assertRaises(Full):
                while True:
                    a.send(B, bytes(1000), timeout=0)
            with self.assertRaises(Full):
                a.send(B, bytes(1000), timeout=0.02)
        with self.assertRaises(NoChannel):
            self.bus.bind("9.9.9.9")
        with self.assertRaises(ValueError):
            self.bus.bind(A, role="reader")
        self.assertTrue(issubclass(Full, BusError))

    def other_process(self, code):
        program = f"import sys\nfrom ramgrid_bus import *\n{code}"
        command = [sys.executable, "-c", program, self.name]
        done = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"ramgrid_bus\.InUse: (.*)", done.stderr)
        if found:
            raise InUse(found[1])
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_forked_child_is_told(self):
        with self.bus.bind(A) as a:
            pid = os.fork()
            if pid == 0:
                try:
                    a.send(B, b"from the child", timeout=0)
                except Forked:
                    os._exit(7)
                os._exit(0)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 7)
            a.send(B, b"from the parent", timeout=0)


class Waiting(Bed):
    def test_a_blocked_receive_leaves_the_interpreter_and_the_channel_free(self):
        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            got = []
            thread = threading.Thread(target=lambda: got.append(bytes(b.receive())))
            thread.start()
            b.send(A, b"meanwhile")
            self.assertEqual(bytes(a.receive(10)), b"meanwhile")
            a.send(B, b"now")
            thread.join()
            self.assertEqual(got, [b"now"])

    def test_a_reader_iterates_and_survives_a_cancelled_receive(self):
        async def talk(a, b):
            async with Reader(b) as reader:
                with self.assertRaises(TimeoutError):
                    await asyncio.wait_for(reader.receive(), 0.05)
                asyncio.get_running_loop().call_later(0.05, a.send, B, b"0")
                got = []
                async for message in reader:
                    got.append(int(bytes(message)))
                    if got[-1] == 20:
                        return got
                    a.send(B, b"%d" % (got[-1] + 1))

        with self.bus.bind(A) as a, self.bus.bind(B) as b:
            self.assertEqual(asyncio.run(talk(a, b)), list(range(21)))


class Transfer(Bed):
    def test_a_gibibyte_arrives_by_its_hash(self):
        """From another process, in messages of 64 KiB, hashed where they lie."""
        self.bus.create("0.0.3.1", B, send=1 << 22)
        code = """
import hashlib, os
from ramgrid_bus import Bus
digest = hashlib.blake2b()
with Bus(sys.argv[1]).bind("0.0.3.1") as channel:
    block = bytearray(os.urandom(1 << 16))
    for n in range(1 << 14):
        block[:8] = n.to_bytes(8, "little")
        digest.update(block)
        channel.send("0.0.2.1", block)
print(digest.hexdigest())
"""
        command = [sys.executable, "-c", "import sys" + code, self.name]
        digest, total = hashlib.blake2b(), 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
            with self.bus.bind(B) as channel:
                while total < 1 << 30:
                    message = channel.receive(60)
                    with message.payload as view:
                        digest.update(view)
                        total += len(view)
            self.assertEqual(sender.stdout.read().strip(), digest.hexdigest())
        self.assertEqual(total, 1 << 30)


class Stubs(unittest.TestCase):
    def test_name_every_public_member_and_no_other(self):
        text = Path(ramgrid_bus.__file__).with_name("_native.pyi").read_text()
        for name in ["Bus", "Channel", "Message"]:
            body = re.search(rf"^class {name}:\n((?:    .*\n|\n)+)", text, re.M)[1]
            stubbed = set(re.findall(r"def (\w+)\(", body))
            members = inspect.getmembers(getattr(ramgrid_bus, name))
            public = {member for member, _ in members if not member.startswith("_")}
            self.assertEqual({m for m in stubbed if not m.startswith("_")}, public, name)
        for name in ramgrid_bus.__all__:
            self.assertTrue(hasattr(ramgrid_bus, name), name)


if __name__ == "__main__":
    unittest.main()
