/* Reads random blocks of a file by one kind of call only, and compares each with the pattern.
 *
 * usage: caller CALL FILE STOP
 * FILE holds WARM_BLOCKS blocks of pattern version 0. Goes on until STOP exists, then says "right". No
 * other call reads the file, so what the session has served was served to this kind of call.
 */
#include "zoo.h"
#include <dlfcn.h>
#include <linux/aio_abi.h>

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

static int is_resident(void)
{
    unsigned char pages[WARM_BLOCKS];
    void *at = mmap(NULL, WARM_BLOCKS * BLOCK, PROT_READ, MAP_SHARED, file, 0);
    int some = 0;
    CHECK(at != MAP_FAILED && mincore(at, WARM_BLOCKS * BLOCK, pages) == 0);
    CHECK(munmap(at, WARM_BLOCKS * BLOCK) == 0);
    for (int n = 0; n < WARM_BLOCKS; n++)
        some |= pages[n] & 1;
    return some;
}

/* Times that advice has brought nothing into the page cache; natively it always does. */
static int spared;

static ssize_t advised(off_t at, size_t count)
{
    CHECK(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0);
    int empty = !is_resident();
    CHECK(spared % 2 ? readahead(file, at, count) == 0
                     : posix_fadvise(file, at, (off_t)count, POSIX_FADV_WILLNEED) == 0);
    usleep(2000);
    spared += empty && !is_resident();
    return pread(file, bytes, count, at);
}

/* Writes what is there already, by libaio, before each read: not a file out of service for that. */
static ssize_t after_aio(off_t at, size_t count)
{
    static aio_context_t context;
    CHECK(context || syscall(SYS_io_setup, 8L, &context) == 0);
    static int turn;
    if (turn++ % 8 == 0) {
        fill(bytes, BLOCK, (uint64_t)at, 0);
        struct iocb one = {.aio_fildes = (uint32_t)file, .aio_lio_opcode = IOCB_CMD_PWRITE,
                           .aio_buf = (uint64_t)bytes, .aio_nbytes = BLOCK, .aio_offset = at};
        struct iocb *list[1] = {&one};
        struct io_event event;
        CHECK(syscall(SYS_io_submit, context, 1L, list) == 1);
        CHECK(syscall(SYS_io_getevents, context, 1L, 1L, &event, NULL) == 1);
        CHECK(event.res == BLOCK);
        memset(bytes, 0xEE, count);
    }
    return pread(file, bytes, count, at);
}

/* The same through the library, which makes its system calls in turn by syscall(3). */
static ssize_t after_libaio(off_t at, size_t count)
{
    static int (*setup)(int, aio_context_t *), (*submit)(aio_context_t, long, struct iocb **);
    static int (*reap)(aio_context_t, long, long, struct io_event *, void *);
    static aio_context_t context;
    static int turn;
    if (!setup) {
        void *library = dlopen("libaio.so.1", RTLD_NOW | RTLD_GLOBAL);
        CHECK(library && (setup = (int (*)(int, aio_context_t *))dlsym(library, "io_setup")));
        CHECK((submit = dlsym(RTLD_DEFAULT, "io_submit")));
        CHECK((reap = dlsym(RTLD_DEFAULT, "io_getevents")));
        CHECK(setup(8, &context) == 0);
    }
    if (turn++ % 8 == 0) {
        fill(bytes, BLOCK, (uint64_t)at, 0);
        struct iocb one = {.aio_fildes = (uint32_t)file, .aio_lio_opcode = IOCB_CMD_PWRITE,
                           .aio_buf = (uint64_t)bytes, .aio_nbytes = BLOCK, .aio_offset = at};
        struct iocb *list[1] = {&one};
        struct io_event event;
        CHECK(submit(context, 1, list) == 1);
        CHECK(reap(context, 1, 1, &event, NULL) == 1 && event.res == BLOCK);
        memset(bytes, 0xEE, count);
    }
    return pread(file, bytes, count, at);
}

static const struct kind {
    const char *name;
    int flags;
    ssize_t (*call)(off_t, size_t);
} kinds[] = {
    {"direct", O_DIRECT, direct},
    {"direct_vectors", O_DIRECT, direct_vectors},
    {"sendfile", 0, sent},
    {"advised", 0, advised},
    {"after_aio", O_RDWR, after_aio},
    {"after_libaio", O_RDWR, after_libaio},
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
    file = open(argv[2], O_CLOEXEC | kind->flags);
    CHECK(file >= 0 && fsync(file) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    bytes = aligned_alloc(BLOCK, 4 * BLOCK);
    unsigned dice = 1;
    int *enough = kind->call == advised ? &spared : NULL;
    for (long n = 0; n % 64 != 0 || (enough && *enough < 100) || access(argv[3], F_OK) != 0; n++) {
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
