/* O_DIRECT keeps its alignment rules, and sees what was written either way. */
#include "../zoo.h"

static unsigned char *shared_buffer;
static volatile int over;

/* Writes the buffer that others read into: what lands in it is nobody's content. */
static void *scribble(void *unused)
{
    (void)unused;
    /* the oracle compares the caller's buffer: it would take a mutated one for a stale read */
    for (unsigned char n = 0; !over && !getenv("HOOKTOOL_ORACLE"); n++)
        memset(shared_buffer, n, 2 * BLOCK);
    return NULL;
}

/* A mutated buffer must never come back as the file's content to somebody else. */
static void mutators(void)
{
    int fd = make("mutated.dat", 32, 3);
    CHECK(fsync(fd) == 0);
    int direct = open(in_dir("mutated.dat"), O_RDONLY | O_DIRECT);
    CHECK(direct >= 0);
    shared_buffer = aligned_alloc(BLOCK, 2 * BLOCK);
    pthread_t thread;
    CHECK(shared_buffer && pthread_create(&thread, NULL, scribble, NULL) == 0);
    for (int round = 0; round < 6; round++) {
        for (int n = 0; n < 31; n++)
            CHECK(pread(direct, shared_buffer, 2 * BLOCK, n * BLOCK) == 2 * BLOCK);
        CHECK(holds_all(fd, 32, 3, 1));
        put(fd, 7 * BLOCK, BLOCK, 3);
    }
    over = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    unsigned char *aligned = aligned_alloc(BLOCK, BLOCK);
    for (int n = 0; n < 32; n++)
        CHECK(pread(direct, aligned, BLOCK, n * BLOCK) == BLOCK && is(aligned, BLOCK, n * BLOCK, 3));
    puts("a mutated buffer stays the mutator's");
}

/* Who may not read, reads nothing, however well the file is known. */
static void not_for_reading(void)
{
    unsigned char bytes[100];
    int writer = open(in_dir("warm.dat"), O_WRONLY);
    int path = open(in_dir("warm.dat"), O_PATH);
    CHECK(writer >= 0 && path >= 0);
    for (int n = 0; n < 3; n++) {
        SAY(pread(writer, bytes, sizeof bytes, 0));
        SAY(pread(path, bytes, sizeof bytes, 0));
    }
}

/* Vectors, odd ends, buffers nobody can write, and flags that come and go. */
static void rules(int direct, unsigned char *aligned)
{
    struct iovec parts[3] = {{aligned, 512}, {aligned + 512, BLOCK - 512}, {aligned + BLOCK, 0}};
    SAY(preadv(direct, parts, 3, 4 * BLOCK));
    CHECK(is(aligned, BLOCK, 4 * BLOCK, 0));
    parts[0].iov_len = 100;
    parts[1] = (struct iovec){aligned + 100, BLOCK - 100};
    SAY(preadv(direct, parts, 2, 4 * BLOCK));
    parts[0] = (struct iovec){aligned + 1, 512};
    SAY(preadv(direct, parts, 1, 4 * BLOCK));
    SAY(pread(direct, aligned, 2 * BLOCK, (WARM_BLOCKS - 1) * BLOCK));
    SAY(pread(direct, aligned, BLOCK, -BLOCK));
    unsigned char *fixed = mmap(NULL, BLOCK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAY(pread(direct, fixed, BLOCK, 0));
    int fd = open_warm();
    CHECK(fcntl(fd, F_SETFL, O_DIRECT) == 0);
    SAY(pread(fd, aligned + 1, 100, 3));
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    SAY(pread(fd, aligned + 1, 100, 3));
    CHECK(syscall(SYS_fcntl, fd, F_SETFL, O_DIRECT) == 0);
    SAY(pread(fd, aligned + 1, 100, 3));
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int direct = open(in_dir("warm.dat"), O_RDONLY | O_DIRECT);
    CHECK(direct >= 0);
    unsigned char *aligned = aligned_alloc(BLOCK, 4 * BLOCK);
    CHECK(aligned);
    for (int n = 0; n < WARM_BLOCKS; n++) {
        CHECK(pread(direct, aligned, BLOCK, n * BLOCK) == BLOCK);
        CHECK(is(aligned, BLOCK, (uint64_t)n * BLOCK, 0));
    }
    SAY(pread(direct, aligned + 1, BLOCK, 0));
    SAY(pread(direct, aligned, 100, 0));
    SAY(pread(direct, aligned, BLOCK, 100));
    SAY(pread(direct, aligned, BLOCK, WARM_BLOCKS * BLOCK));
    int fd = make("direct.dat", 8, 1);
    int writer = open(in_dir("direct.dat"), O_RDWR | O_DIRECT);
    CHECK(writer >= 0);
    for (uint64_t version = 2; version < 20; version++) {
        uint64_t at = (version % 8) * BLOCK;
        fill(aligned, BLOCK, at, version);
        CHECK(pwrite(writer, aligned, BLOCK, (off_t)at) == BLOCK);
        CHECK(holds(fd, at, BLOCK, version));
        put(fd, at, BLOCK, version + 50);
        CHECK(pread(writer, aligned, BLOCK, (off_t)at) == BLOCK);
        CHECK(is(aligned, BLOCK, at, version + 50));
    }
    CHECK(fcntl(writer, F_SETFL, 0) == 0);
    SAY(pread(writer, aligned + 1, 100, 100));
    puts("direct and buffered agree");
    rules(direct, aligned);
    not_for_reading();
    mutators();
    return 0;
}
