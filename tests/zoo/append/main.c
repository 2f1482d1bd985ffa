/* pwrite on an O_APPEND descriptor appends and ignores its offset. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int reader = make("log.dat", 4, 1);
    int writer = open(in_dir("log.dat"), O_WRONLY | O_APPEND);
    CHECK(writer >= 0);
    for (uint64_t n = 0; n < 40; n++) {
        const uint64_t end = 4 * BLOCK + n * 1000;
        unsigned char bytes[1000];
        CHECK(holds(reader, 0, BLOCK, 1));
        SAY(pread(reader, bytes, sizeof bytes, (off_t)end));
        fill(bytes, sizeof bytes, end, 1);
        CHECK(pwrite(writer, bytes, sizeof bytes, 0) == sizeof bytes);
        CHECK(holds(reader, 0, end + 1000, 1));
    }
    CHECK(fcntl(writer, F_SETFL, 0) == 0);
    put(writer, BLOCK, BLOCK, 2);
    CHECK(holds(reader, BLOCK, BLOCK, 2) && holds(reader, 0, BLOCK, 1));
    CHECK(fcntl(reader, F_SETFL, O_APPEND) == 0);
    unsigned char byte = 'z', tail;
    struct stat now;
    CHECK(pwrite(reader, &byte, 1, 0) == 1 && fstat(reader, &now) == 0);
    CHECK(pread(reader, &tail, 1, now.st_size - 1) == 1 && tail == 'z');
    CHECK(holds(reader, 0, BLOCK, 1));
    printf("size %lld\n", (long long)now.st_size);
    return 0;
}
