/* Several processes read and rewrite blocks of one file, each block under a lock of its own, and
 * compare every byte read with what was written last, whoever wrote it.
 *
 * usage: prowler FILE BLOCKS PROCESSES SEED OPERATIONS STOP
 * Makes FILE anew. Each process does at least OPERATIONS operations and goes on until STOP exists.
 * Prints one line per process and exits 0 if all was right. A failing run names operation and seed.
 */
#include "zoo.h"

#define LOCKS 1024
#define SPAN_MAX 4

struct shared {
    pthread_rwlock_t locks[LOCKS];
    uint32_t versions[];
};

static struct shared *shared;
static int blocks;

static uint64_t word(uint64_t block, uint64_t version, uint64_t n)
{
    return (block * 0x9E3779B97F4A7C15ull) ^ (version * 0xC2B2AE3D27D4EB4Full) ^ n;
}

static void compose(uint64_t *to, uint64_t block, uint64_t version)
{
    for (uint64_t n = 0; n < BLOCK / 8; n++)
        to[n] = word(block, version, n);
}

/* Locks the blocks of a span in ascending order of their locks; a lock is taken once. */
static int lock_span(int first, int count, int exclusive, int *held)
{
    int have = 0;
    for (int b = first; b < first + count; b++) {
        int lock = b % LOCKS, known = 0;
        for (int n = 0; n < have; n++)
            known |= held[n] == lock;
        if (!known)
            held[have++] = lock;
    }
    for (int a = 0; a < have; a++)
        for (int b = a + 1; b < have; b++)
            if (held[b] < held[a]) {
                int swap = held[a];
                held[a] = held[b];
                held[b] = swap;
            }
    for (int n = 0; n < have; n++)
        CHECK((exclusive ? pthread_rwlock_wrlock(&shared->locks[held[n]])
                         : pthread_rwlock_rdlock(&shared->locks[held[n]])) == 0);
    return have;
}

static void look(int fd, int first, int count, uint64_t *bytes, long operation)
{
    ssize_t got = pread(fd, bytes, (size_t)count * BLOCK, (off_t)first * BLOCK);
    if (got != (ssize_t)count * BLOCK) {
        printf("operation %ld: block %d: read %zd, errno %d\n", operation, first, got, errno);
        _exit(1);
    }
    for (int b = 0; b < count; b++)
        for (uint64_t n = 0; n < BLOCK / 8; n++) {
            uint64_t version = shared->versions[first + b];
            if (bytes[b * (BLOCK / 8) + n] == word((uint64_t)(first + b), version, n))
                continue;
            uint64_t old = version;
            while (old > 0 && bytes[b * (BLOCK / 8) + n] != word((uint64_t)(first + b), old, n))
                old--;
            printf("operation %ld: block %d word %llu: not version %llu but %llu (0: foreign)\n",
                   operation, first + b, (unsigned long long)n, (unsigned long long)version,
                   (unsigned long long)old);
            fflush(stdout);
            _exit(1);
        }
}

static void change(int fd, int first, int count, uint64_t *bytes)
{
    struct iovec parts[SPAN_MAX];
    for (int b = 0; b < count; b++) {
        compose(bytes + b * (BLOCK / 8), (uint64_t)(first + b), ++shared->versions[first + b]);
        parts[b] = (struct iovec){bytes + b * (BLOCK / 8), BLOCK};
    }
    if (count % 2)
        CHECK(pwrite(fd, bytes, (size_t)count * BLOCK, (off_t)first * BLOCK) == count * BLOCK);
    else
        CHECK(pwritev(fd, parts, count, (off_t)first * BLOCK) == count * BLOCK);
}

static void prowl(const char *file, unsigned dice, long operations, const char *stop)
{
    int fd = open(file, O_RDWR | O_CLOEXEC);
    uint64_t *bytes = aligned_alloc(BLOCK, SPAN_MAX * BLOCK);
    CHECK(fd >= 0 && bytes);
    /* a tenth of the blocks gets most of the attention */
    for (long n = 0; n < operations || access(stop, F_OK) != 0; n++) {
        int hot = rand_r(&dice) % 10 < 7;
        int count = 1 + rand_r(&dice) % SPAN_MAX;
        int first = rand_r(&dice) % (hot ? blocks / 10 : blocks - count);
        int held[SPAN_MAX], write = rand_r(&dice) % 10 == 0;
        int have = lock_span(first, count, write, held);
        if (write)
            change(fd, first, count, bytes);
        look(fd, first, count, bytes, n);
        while (have > 0)
            pthread_rwlock_unlock(&shared->locks[held[--have]]);
        if (rand_r(&dice) % 500 == 0) {
            close(fd);
            fd = open(file, O_RDWR | O_CLOEXEC);
            CHECK(fd >= 0);
        }
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return 2;
    blocks = atoi(argv[2]);
    int processes = atoi(argv[3]), seed = atoi(argv[4]);
    size_t size = sizeof *shared + (size_t)blocks * sizeof shared->versions[0];
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    pthread_rwlockattr_t between;
    CHECK(pthread_rwlockattr_init(&between) == 0);
    CHECK(pthread_rwlockattr_setpshared(&between, PTHREAD_PROCESS_SHARED) == 0);
    for (int n = 0; n < LOCKS; n++)
        CHECK(pthread_rwlock_init(&shared->locks[n], &between) == 0);
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    static uint64_t bytes[SPAN_MAX * BLOCK / 8];
    CHECK(fd >= 0);
    for (int b = 0; b < blocks; b++)
        change(fd, b, 1, bytes);
    close(fd);
    for (int n = 0; n < processes; n++)
        if (fork() == 0)
            prowl(argv[1], (unsigned)(seed * 1000 + n), atol(argv[5]), argv[6]);
    int wrong = 0;
    for (int n = 0; n < processes; n++) {
        int status;
        CHECK(wait(&status) > 0);
        if (WIFSIGNALED(status))
            printf("a prowler died by signal %d\n", WTERMSIG(status));
        wrong |= status != 0;
    }
    printf("seed %d: %s\n", seed, wrong ? "WRONG" : "right");
    return wrong;
}
