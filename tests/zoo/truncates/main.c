/* Truncate and extend: what was cut off never comes back. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    unsigned char bytes[BLOCK];
    int fd = make("cut.dat", 16, 1);
    int reader = open(in_dir("cut.dat"), O_RDONLY);
    for (uint64_t version = 1; version < 20; version++) {
        put(fd, 0, 16 * BLOCK, version);
        CHECK(holds_all(reader, 16, version, 2));
        CHECK(ftruncate(fd, 4 * BLOCK + 100) == 0);
        CHECK(pread(reader, bytes, BLOCK, 4 * BLOCK) == 100 && is(bytes, 100, 4 * BLOCK, version));
        CHECK(pread(reader, bytes, BLOCK, 5 * BLOCK) == 0);
        CHECK(ftruncate(fd, 16 * BLOCK) == 0);
        CHECK(holds(reader, 4 * BLOCK, 100, version));
        CHECK(holds_zeros(reader, 4 * BLOCK + 100, 12 * BLOCK - 100));
        CHECK(holds_zeros(reader, 8 * BLOCK, BLOCK));
        CHECK(truncate(in_dir("cut.dat"), 2 * BLOCK) == 0);
        CHECK(pread(reader, bytes, BLOCK, 2 * BLOCK) == 0 && holds(reader, BLOCK, BLOCK, version));
        int again = open(in_dir("cut.dat"), O_WRONLY | O_TRUNC);
        CHECK(again >= 0 && pread(reader, bytes, BLOCK, 0) == 0);
        put(again, 3 * BLOCK, BLOCK, version);
        CHECK(holds_zeros(reader, 0, 3 * BLOCK) && holds(reader, 3 * BLOCK, BLOCK, version));
        close(again);
        int made = creat(in_dir("cut.dat"), 0644);
        CHECK(made >= 0 && pread(reader, bytes, BLOCK, 0) == 0);
        close(made);
    }
    SAY(ftruncate(reader, 0));
    SAY(ftruncate(fd, -1));
    SAY(lseek(reader, 0, SEEK_END));
    return 0;
}
