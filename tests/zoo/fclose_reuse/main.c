/* fclose closes inside libc, past every hook; then something else gets the same number. */
#include "../zoo.h"

static int number_of_closed_stream(void)
{
    FILE *stream = fopen(in_dir("warm.dat"), "r");
    CHECK(stream);
    int fd = fileno(stream);
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 3));
    CHECK(fclose(stream) == 0);
    return fd;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    unsigned char bytes[BLOCK];
    int old = number_of_closed_stream();
    SAY(pread(old, bytes, sizeof bytes, 0));

    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(sock == old);
    SAY(pread(sock, bytes, sizeof bytes, 0));
    CHECK(close(sock) == 0);

    CHECK(number_of_closed_stream() == old);
    int pipes[2];
    CHECK(pipe(pipes) == 0 && pipes[0] == old);
    CHECK(write(pipes[1], "pipe", 4) == 4);
    SAY(pread(pipes[0], bytes, sizeof bytes, 0));
    SAY(read(pipes[0], bytes, sizeof bytes));
    CHECK(memcmp(bytes, "pipe", 4) == 0);
    close(pipes[0]);
    close(pipes[1]);

    int other = make("other.dat", 8, 5);
    close(other);
    CHECK(number_of_closed_stream() == old);
    other = (int)syscall(SYS_openat, AT_FDCWD, in_dir("other.dat"), O_RDONLY);
    CHECK(other == old);
    CHECK(holds_all(other, 8, 5, 3));
    puts("each number meant what it meant last");
    return 0;
}
