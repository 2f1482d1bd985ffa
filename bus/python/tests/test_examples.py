"""The two programs of examples/bus-python, as their README has them run."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from ramgrid_bus import Bus

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "bus-python"


class Examples(unittest.TestCase):
    def test_they_talk(self):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            bus = Bus(directory + "/bus")
            bus.create("0.0.1.1", "0.0.2.1", send=1 << 16, receive=1 << 16)
            run = [sys.executable, "-u"]
            told = {"stdout": subprocess.PIPE, "text": True}
            receiver = subprocess.Popen(run + [EXAMPLES / "receiver.py", bus.path], **told)
            sender = subprocess.run(run + [EXAMPLES / "sender.py", bus.path], timeout=60, **told)
            heard, _ = receiver.communicate(timeout=60)
            self.assertEqual((sender.returncode, receiver.returncode), (0, 0))
            self.assertIn("order 1", heard)
            self.assertEqual(len(sender.stdout.splitlines()), 10)


if __name__ == "__main__":
    unittest.main()
