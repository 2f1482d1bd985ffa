/* Calls that change, open and close files are cancellation points: threads are cancelled in the
 * middle of them, blocked in them, and on entering them, and leave no file changed or stuck. */
#include "../zoo.h"

#define LOOPS 6

static int own, other, synced;
static int empty[2], full[2];
static int lock_fd;
static unsigned char block[BLOCK];
static const struct iovec vector = {block, BLOCK};

/* What one thread does, once. Everything that is written is what lies there already. */
static long do_write(void) { return write(other, block, BLOCK); }
static long do_pwrite(void) { return pwrite(own, block, BLOCK, 0); }
static long do_pwrite64(void) { return pwrite64(own, block, BLOCK, 0); }
static long do_writev(void) { return writev(other, &vector, 1); }
static long do_pwritev(void) { return pwritev(own, &vector, 1, 0); }
static long do_pwritev2(void) { return pwritev2(own, &vector, 1, 0, 0); }
static long do_synced(void) { return pwrite(synced, block, BLOCK, 0); }
static long do_fsync(void) { return fsync(own); }
static long do_fdatasync(void) { return fdatasync(own); }
static long do_ftruncate(void) { return ftruncate(own, 4 * BLOCK); }
static long do_fallocate(void) { return fallocate(own, FALLOC_FL_KEEP_SIZE, 0, BLOCK); }
static long do_copy(void)
{
    loff_t from = 0, to = 0;
    return copy_file_range(own, &from, other, &to, BLOCK, 0);
}
static long do_sendfile(void)
{
    off_t from = 0;
    return sendfile(other, own, &from, BLOCK);
}
static long do_open(void)
{
    int fd = open(in_dir("own.dat"), O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && close(fd) == 0);
    return 0;
}
static long do_truncating_open(void)
{
    int fd = open(in_dir("scrap.dat"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && close(fd) == 0);
    return 0;
}
static long do_creat(void)
{
    int fd = creat(in_dir("scrap.dat"), 0644);
    CHECK(fd >= 0 && close(fd) == 0);
    return 0;
}
static long do_close(void) { return close(dup(own)); }
static long do_stream(void)
{
    FILE *stream = fopen(in_dir("stream.dat"), "w");
    CHECK(stream && fwrite(block, BLOCK, 1, stream) == 1);
    return fclose(stream);
}

/* Calls that never come back by themselves. */
static long wait_splice(void) { return splice(empty[0], NULL, other, NULL, BLOCK, 0); }
static long wait_pipe(void) { return write(full[1], block, BLOCK); }
static long wait_open(void) { return open(in_dir("fifo"), O_RDONLY | O_CLOEXEC); }
static long wait_lock(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    return fcntl(lock_fd, F_OFD_SETLKW, &lock);
}

struct act {
    const char *name;
    long (*call)(void);
};

static const struct act ACTS[] = {
    {"write", do_write},         {"pwrite", do_pwrite},
    {"pwrite64", do_pwrite64},   {"writev", do_writev},
    {"pwritev", do_pwritev},     {"pwritev2", do_pwritev2},
    {"O_SYNC", do_synced},       {"fsync", do_fsync},
    {"fdatasync", do_fdatasync}, {"ftruncate", do_ftruncate},
    {"fallocate", do_fallocate}, {"copy_file_range", do_copy},
    {"sendfile", do_sendfile},   {"open", do_open},
    {"open, O_TRUNC", do_truncating_open},
    {"creat", do_creat},         {"close", do_close},
    {"streams", do_stream},
};
static const struct act WAITS[] = {
    {"splice from an empty pipe", wait_splice},
    {"write to a full pipe", wait_pipe},
    {"open of a FIFO", wait_open},
    {"wait for a lock", wait_lock},
};
#define COUNT(table) (sizeof table / sizeof *table)

static void cleaned(void *flag)
{
    *(int *)flag = 1;
}

static int flag;
static pthread_barrier_t here;

/* Calls it over and over until it is cancelled in it, or at the end of a turn. */
static void *forever(void *act)
{
    pthread_cleanup_push(cleaned, &flag);
    pthread_barrier_wait(&here);
    for (;;) {
        ((const struct act *)act)->call();
        lseek(other, 0, SEEK_SET);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

/* Calls it with a cancellation pending: says whether the call took notice. */
static void *on_entry(void *act)
{
    pthread_cleanup_push(cleaned, &flag);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_barrier_wait(&here);
    pthread_barrier_wait(&here);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    ((const struct act *)act)->call();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *once(void *act)
{
    pthread_cleanup_push(cleaned, &flag);
    pthread_barrier_wait(&here);
    ((const struct act *)act)->call();
    pthread_cleanup_pop(0);
    return NULL;
}

/* Starts a thread, cancels it, and tells whether it was. */
static int cancel(void *(*body)(void *), const struct act *act, int pause_us)
{
    pthread_t thread;
    void *answer = NULL;
    flag = 0;
    CHECK(pthread_create(&thread, NULL, body, (void *)act) == 0);
    pthread_barrier_wait(&here);
    if (pause_us)
        usleep((useconds_t)pause_us);
    CHECK(pthread_cancel(thread) == 0);
    if (body == on_entry)
        pthread_barrier_wait(&here);
    CHECK(pthread_join(thread, &answer) == 0);
    CHECK((answer == PTHREAD_CANCELED) == (flag == 1));
    return flag;
}

static void prepare(void)
{
    own = make("own.dat", 4, 6);
    other = make("other.dat", 1, 6);
    CHECK(lseek(other, 0, SEEK_SET) == 0);
    synced = open(in_dir("synced.dat"), O_RDWR | O_CREAT | O_SYNC | O_CLOEXEC, 0644);
    CHECK(synced >= 0);
    fill(block, BLOCK, 0, 6);
    CHECK(pthread_barrier_init(&here, NULL, 2) == 0);
    CHECK(pipe2(empty, O_CLOEXEC) == 0 && pipe2(full, O_CLOEXEC | O_NONBLOCK) == 0);
    while (write(full[1], block, BLOCK) > 0)
        ;
    CHECK(fcntl(full[1], F_SETFL, 0) == 0);
    CHECK(mkfifo(in_dir("fifo"), 0600) == 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    CHECK(fcntl(own, F_OFD_SETLK, &lock) == 0);
    lock_fd = open(in_dir("own.dat"), O_RDWR | O_CLOEXEC);
    CHECK(lock_fd >= 0);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    prepare();
    for (size_t n = 0; n < COUNT(ACTS); n++)
        printf("%s, cancellation pending: %s\n", ACTS[n].name,
               cancel(on_entry, &ACTS[n], 0) ? "cancelled" : "returned");
    for (size_t n = 0; n < COUNT(ACTS); n++)
        for (int loop = 0; loop < LOOPS; loop++)
            CHECK(cancel(forever, &ACTS[n], 300 * loop));
    puts("cancelled in every call");
    for (size_t n = 0; n < COUNT(WAITS); n++)
        printf("%s: %s\n", WAITS[n].name,
               cancel(once, &WAITS[n], 2000) ? "cancelled" : "returned");

    CHECK(holds_all(own, 4, 6, 3) && holds_all(warm, WARM_BLOCKS, 0, 2));
    put(own, BLOCK, BLOCK, 7);
    put(other, 0, BLOCK, 7);
    CHECK(holds(own, BLOCK, BLOCK, 7) && holds(other, 0, BLOCK, 7) && holds(own, 0, BLOCK, 6));
    return 0;
}
