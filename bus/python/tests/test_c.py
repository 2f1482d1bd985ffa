"""From C to Python and back: a C program echoes what Python sends it.

RAMGRID_BUS_C names the directory with libramgrid_bus.a (`make test` sets it). RAMGRID_BUS_ECHOES is
the number of messages: 4096 are 32 MB each way, the 140000 of `make torture` more than 1 GiB.
"""

import hashlib
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from ramgrid_bus import Bus

SOURCE = r"""
#include <ramgrid_bus.h>
#include <stdlib.h>
static char bytes[1 << 16];
int main(int argc, char **argv)
{
    rg_bus *bus;
    rg_bus_endpoint *me;
    uint32_t here, peer;
    long count = atol(argv[2]);
    if (argc != 3 || rg_bus_open(argv[1], &bus) || rg_bus_address(bus, "0.0.2.1", &here)
        || rg_bus_address(bus, "0.0.1.1", &peer) || rg_bus_bind(bus, here, RG_BUS_BOTH, &me))
        return 2;
    for (; count > 0; count--) {
        size_t length = sizeof bytes;
        rg_bus_message message;
        if (rg_bus_recv(me, bytes, &length, &message, 60000))
            return 3;
        if (rg_bus_send(me, peer, bytes, length, 60000))
            return 4;
    }
    rg_bus_unbind(me);
    rg_bus_close(bus);
    return 0;
}
"""


class C(unittest.TestCase):
    def test_a_c_program_echoes_what_python_sends(self):
        count = int(os.environ.get("RAMGRID_BUS_ECHOES", "4096"))
        root, total = Path(__file__).resolve().parents[2], 0
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            bus = Bus(directory + "/bus")
            bus.create("0.0.1.1", "0.0.2.1", send=1 << 20, receive=1 << 20)
            program = directory + "/echo"
            Path(program + ".c").write_text(SOURCE)
            library = Path(os.environ["RAMGRID_BUS_C"]) / "libramgrid_bus.a"
            include = root / "c" / "include"
            subprocess.run(
                ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{include}", program + ".c"]
                + ["-o", program, str(library), "-lpthread", "-ldl", "-lm"],
                check=True,
            )
            with subprocess.Popen([program, bus.path, str(count)]) as echo:
                sent, back = hashlib.sha256(), hashlib.sha256()
                with bus.bind("0.0.1.1") as channel:
                    ahead = 0
                    for n in range(count):
                        data = n.to_bytes(4, "little") * (1 + n % 4000)
                        sent.update(data)
                        total += len(data)
                        channel.send("0.0.2.1", data, timeout=60)
                        ahead += 1
                        while ahead > 8 or (n == count - 1 and ahead):
                            back.update(channel.receive(60))
                            ahead -= 1
                self.assertEqual(sent.digest(), back.digest())
                print(f"echo: {total} bytes to C and back, SHA-256 {back.hexdigest()[:16]}")
            self.assertEqual(echo.returncode, 0)


if __name__ == "__main__":
    unittest.main()
