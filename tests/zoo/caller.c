/* Reads random blocks of a file by one kind of call only, and compares each with the pattern.
 *
 * usage: caller CALL FILE STOP
 * FILE holds WARM_BLOCKS blocks of pattern version 0. Goes on until STOP exists, then says "right". No
 * other call reads the file, so what the session has served was served to this kind of call.
 */
#include "zoo.h"

static int file, ends[2];
static unsigned char *bytes;

static ssize_t direct(off_t at, size_t count)
{
    return pread(file, bytes, count, at);
}

static ssize_t direct_vectors(off_t at, size_t count)
{
    struct iovec parts[2] = {{bytes, 512}, {bytes + 512, count - 512}};
    return preadv(file, parts, 2, at);
}

/* What sendfile has sent is read on the other side by read(2), which is never served on a socket. */
static ssize_t sent(off_t at, size_t count)
{
    off_t from = at;
    ssize_t done = sendfile(ends[0], file, &from, count);
    if (done > 0 && (from != at + done || recv(ends[1], bytes, done, MSG_WAITALL) != done))
        return -1;
    return done;
}

static ssize_t seek_and_read(off_t at, size_t count)
{
    if (lseek(file, at, SEEK_SET) != at)
        return -1;
    ssize_t done = read(file, bytes, count);
    return lseek(file, 0, SEEK_CUR) == at + done ? done : -1;
}

static ssize_t seek_and_readv(off_t at, size_t count)
{
    struct iovec parts[2] = {{bytes, 100}, {bytes + 100, count - 100}};
    if (lseek(file, at, SEEK_SET) != at)
        return -1;
    ssize_t done = readv(file, parts, 2);
    return lseek(file, 0, SEEK_CUR) == at + done ? done : -1;
}

static const struct kind {
    const char *name;
    int flags;
    ssize_t (*call)(off_t, size_t);
} kinds[] = {
    {"direct", O_DIRECT, direct},
    {"direct_vectors", O_DIRECT, direct_vectors},
    {"sendfile", 0, sent},
    {"read", 0, seek_and_read},
    {"readv", 0, seek_and_readv},
};

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const struct kind *kind = kinds;
    while (strcmp(kind->name, argv[1]) != 0)
        CHECK(++kind < kinds + sizeof kinds / sizeof *kinds);
    file = open(argv[2], O_RDONLY | O_CLOEXEC | kind->flags);
    CHECK(file >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    bytes = aligned_alloc(BLOCK, 4 * BLOCK);
    unsigned dice = 1;
    for (long n = 0; n % 64 != 0 || access(argv[3], F_OK) != 0; n++) {
        size_t count = (1 + rand_r(&dice) % 2) * BLOCK;
        off_t at = rand_r(&dice) % (WARM_BLOCKS - 2) * BLOCK;
        memset(bytes, 0xEE, count);
        CHECK(kind->call(at, count) == (ssize_t)count);
        CHECK(is(bytes, count, (uint64_t)at, 0));
        if (n % 64 == 63)
            usleep(5000);
    }
    puts("right");
    return 0;
}
