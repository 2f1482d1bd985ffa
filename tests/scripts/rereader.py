"""Reads a file of numbers in blocks, again and again, and fails if one is wrong.

Ends well when its input ends. Argument: the file, whose nth four bytes are n.
"""

import os
import select
import struct
import sys

BLOCK = 8192

fd = os.open(sys.argv[1], os.O_RDONLY)
blocks = os.fstat(fd).st_size // BLOCK
while not select.select([sys.stdin], [], [], 0)[0]:
    for block in range(blocks):
        place = (block * 7919) % blocks
        data = os.pread(fd, BLOCK, place * BLOCK)
        first = place * BLOCK // 4
        if struct.unpack_from("<I", data)[0] != first:
            sys.exit("block %d is not what was written" % place)
