/* libaio, by the system calls under it: what was reaped was seen, whatever became of the rest. */
#include "../zoo.h"
#include <linux/aio_abi.h>

static aio_context_t context;
static int fd;
static unsigned char *bytes[16];

static struct iocb ready(int nth, int block, uint64_t version)
{
    fill(bytes[nth], BLOCK, (uint64_t)block * BLOCK, version);
    return (struct iocb){.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_PWRITE,
                         .aio_buf = (uint64_t)bytes[nth], .aio_nbytes = BLOCK,
                         .aio_offset = block * BLOCK};
}

static long submit(struct iocb **list, long n)
{
    return syscall(SYS_io_submit, context, n, list);
}

static void reap_all(long n)
{
    struct io_event events[16];
    while (n > 0) {
        long got = syscall(SYS_io_getevents, context, 1L, 16L, events, NULL);
        CHECK(got > 0);
        for (long e = 0; e < got; e++)
            CHECK(events[e].res == BLOCK);
        n -= got;
    }
}

static void one_by_one(void)
{
    for (uint64_t version = 2; version < 40; version++) {
        int block = (int)(version % 16);
        struct iocb one = ready(0, block, version), *list[1] = {&one};
        CHECK(holds(fd, (uint64_t)block * BLOCK, BLOCK, version > 17 ? version - 16 : 1));
        CHECK(submit(list, 1) == 1);
        reap_all(1);
        CHECK(holds(fd, (uint64_t)block * BLOCK, BLOCK, version));
        CHECK(holds(fd, (uint64_t)block * BLOCK, BLOCK, version));
    }
    puts("what was reaped was seen");
}

static void many_at_once(void)
{
    struct iocb all[16], *list[16];
    for (uint64_t version = 50; version < 60; version++) {
        for (int n = 0; n < 16; n++) {
            all[n] = ready(n, n, version);
            list[n] = &all[n];
        }
        CHECK(submit(list, 16) == 16);
        CHECK(pread(fd, bytes[15], 0, 0) == 0);
        reap_all(16);
        CHECK(holds_all(fd, 16, version, 2));
    }
    struct iovec parts[2] = {{bytes[0], BLOCK / 2}, {bytes[0] + BLOCK / 2, BLOCK / 2}};
    struct iocb vector = ready(0, 3, 61);
    vector.aio_lio_opcode = IOCB_CMD_PWRITEV;
    vector.aio_buf = (uint64_t)parts;
    vector.aio_nbytes = 2;
    list[0] = &vector;
    CHECK(submit(list, 1) == 1);
    reap_all(1);
    CHECK(holds(fd, 3 * BLOCK, BLOCK, 61) && holds(fd, 4 * BLOCK, BLOCK, 59));
    puts("sixteen in flight");
}

/* The second of three is refused: the first is in flight, the third never was. */
static void refused(void)
{
    struct iocb all[3] = {ready(0, 5, 70), ready(1, 6, 70), ready(2, 7, 70)};
    struct iocb *list[3] = {&all[0], &all[1], &all[2]};
    all[1].aio_fildes = (uint32_t)-1;
    SAY(submit(list, 3));
    reap_all(1);
    CHECK(holds(fd, 5 * BLOCK, BLOCK, 70) && holds(fd, 6 * BLOCK, 2 * BLOCK, 59));
    SAY(submit(&list[1], 2));
    CHECK(holds_all(fd, 1, 59, 3));
    struct iocb *nobody[1] = {NULL};
    SAY(submit(nobody, 1));
    SAY(submit(list, -1));
    SAY(submit((struct iocb **)8, 1));
    static struct iocb *const fixed[1] = {(struct iocb *)8};
    SAY(submit((struct iocb **)fixed, 1));
    SAY(syscall(SYS_io_submit, 0L, 1L, list));
}

/* One control block for two writes; a context that ends with writes in flight; a child. */
static void careless(void)
{
    struct iocb twin = ready(0, 8, 80), *list[1] = {&twin};
    CHECK(submit(list, 1) == 1);
    twin = ready(1, 9, 80);
    CHECK(submit(list, 1) == 1);
    reap_all(2);
    CHECK(holds(fd, 8 * BLOCK, 2 * BLOCK, 80));
    struct iocb last = ready(0, 10, 81);
    list[0] = &last;
    CHECK(submit(list, 1) == 1);
    pid_t child = fork();
    if (child == 0) {
        CHECK(holds(fd, 8 * BLOCK, 2 * BLOCK, 80));
        put(fd, 11 * BLOCK, BLOCK, 82);
        _exit(0);
    }
    reap(child, "child");
    CHECK(syscall(SYS_io_destroy, context) == 0);
    CHECK(holds(fd, 10 * BLOCK, BLOCK, 81) && holds(fd, 11 * BLOCK, BLOCK, 82));
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    make("plain.dat", 16, 1);
    fd = open(in_dir("plain.dat"), O_RDWR);
    for (int n = 0; n < 16; n++)
        CHECK((bytes[n] = aligned_alloc(BLOCK, BLOCK)));
    CHECK(syscall(SYS_io_setup, 64L, &context) == 0);
    CHECK(fd >= 0 && holds_all(fd, 16, 1, 3));
    one_by_one();
    many_at_once();
    refused();
    careless();
    return 0;
}
