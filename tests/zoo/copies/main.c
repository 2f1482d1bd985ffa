/* copy_file_range, sendfile and splice write into files without a buffer of ours. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    int fd = make("copy.dat", 16, 1);
    int reader = open(in_dir("copy.dat"), O_RDONLY);
    CHECK(holds_all(reader, 16, 1, 3));
    off_t from = 3 * BLOCK, to = 3 * BLOCK;
    CHECK(copy_file_range(warm, &from, fd, &to, 2 * BLOCK, 0) == 2 * BLOCK);
    CHECK(holds(reader, 3 * BLOCK, 2 * BLOCK, 0) && holds(reader, 5 * BLOCK, BLOCK, 1));
    put(fd, 0, 16 * BLOCK, 2);
    CHECK(holds_all(reader, 16, 2, 2));
    from = 6 * BLOCK;
    CHECK(lseek(fd, 6 * BLOCK, SEEK_SET) == 6 * BLOCK);
    CHECK(sendfile(fd, warm, &from, BLOCK) == BLOCK && from == 7 * BLOCK);
    CHECK(holds(reader, 6 * BLOCK, BLOCK, 0) && holds(reader, 7 * BLOCK, BLOCK, 2));
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    from = 9 * BLOCK;
    to = 9 * BLOCK;
    CHECK(splice(warm, &from, pipes[1], NULL, BLOCK, 0) == BLOCK);
    CHECK(splice(pipes[0], NULL, fd, &to, BLOCK, 0) == BLOCK);
    CHECK(holds(reader, 9 * BLOCK, BLOCK, 0));
    int pair[2];
    unsigned char bytes[BLOCK];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    for (int n = 0; n < 5; n++) {
        from = n * BLOCK;
        SAY(sendfile(pair[0], warm, &from, BLOCK));
        CHECK(recv(pair[1], bytes, BLOCK, MSG_WAITALL) == BLOCK);
        CHECK(is(bytes, BLOCK, (uint64_t)n * BLOCK, 0) && from == (n + 1) * BLOCK);
    }
    CHECK(lseek(warm, 2 * BLOCK, SEEK_SET) == 2 * BLOCK);
    SAY(sendfile(pair[0], warm, NULL, BLOCK));
    SAY(lseek(warm, 0, SEEK_CUR));
    CHECK(recv(pair[1], bytes, BLOCK, MSG_WAITALL) == BLOCK && is(bytes, BLOCK, 2 * BLOCK, 0));
    from = WARM_BLOCKS * BLOCK - 10;
    SAY(sendfile(pair[0], warm, &from, BLOCK));
    SAY(sendfile(pair[0], -1, &from, BLOCK));
    return 0;
}
