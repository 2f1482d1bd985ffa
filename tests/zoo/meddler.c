/* An outsider that changes files in every way it can, and a watcher that checks what it reads of
 * them. They share nothing but the files and a page of words: for each block, the generation whose
 * writing has begun, and the one that is done. A read that begins when generation d is done and
 * ends when generation b has begun must show words of generations d to b, each of its own block.
 *
 * usage: meddler meddle DIR FILES SEED STOP    changes file number SEED modulo 2, and so on
 *        meddler watch  DIR FILES SEED STOP    reads them all until STOP exists
 * The meddler prints its calls and the slowest of them; the watcher its reads, or the wrong one.
 */
#include "zoo.h"

#define BLOCKS 48
#define FILES_MAX 32

struct notes {
    _Atomic uint32_t begun[FILES_MAX][BLOCKS], done[FILES_MAX][BLOCKS];
    _Atomic uint32_t replaced[FILES_MAX]; /* odd: the name may be missing or the file short */
};

static struct notes *notes;
static char names[FILES_MAX][64];
static double slowest;
static const char *slowest_call = "none";
static long calls;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Makes one call, and remembers the slowest. */
#define TIMED(call)                                                                                \
    ({                                                                                             \
        double start_ = now();                                                                     \
        __auto_type result_ = (call);                                                              \
        double took_ = now() - start_;                                                             \
        calls++;                                                                                   \
        if (took_ > slowest) {                                                                     \
            slowest = took_;                                                                       \
            slowest_call = #call;                                                                  \
        }                                                                                          \
        result_;                                                                                   \
    })

static uint64_t word(uint32_t generation, int file, int block, int n)
{
    return (uint64_t)generation << 32 | (uint64_t)file << 24 | (uint64_t)block << 16 | (uint64_t)n;
}

static void compose(uint64_t *to, uint32_t generation, int file, int block)
{
    for (int n = 0; n < BLOCK / 8; n++)
        to[n] = word(generation, file, block, n);
}

static void begin(int file, int first, int count)
{
    for (int b = first; b < first + count; b++)
        notes->begun[file][b]++;
}

static void end(int file, int first, int count)
{
    for (int b = first; b < first + count; b++)
        notes->done[file][b] = notes->begun[file][b];
}

/* Writes blocks at the generation that has begun. */
static void put_blocks(int fd, int file, int first, int count)
{
    static uint64_t bytes[BLOCKS * BLOCK / 8];
    for (int b = 0; b < count; b++)
        compose(bytes + b * (BLOCK / 8), notes->begun[file][first + b], file, first + b);
    size_t len = (size_t)count * BLOCK;
    CHECK(TIMED(pwrite(fd, bytes, len, (off_t)first * BLOCK)) == (ssize_t)len);
}

static int open_to_write(const char *name, int flags)
{
    int fd = TIMED(open(name, O_RDWR | flags, 0644));
    CHECK(fd >= 0);
    return fd;
}

static void in_place(int file, int first, int count)
{
    int fd = open_to_write(names[file], 0);
    begin(file, first, count);
    put_blocks(fd, file, first, count);
    end(file, first, count);
    close(fd);
}

static void by_mapping(int file, int first, int count)
{
    int fd = open_to_write(names[file], 0);
    uint64_t *map = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    close(fd);
    for (int again = 0; again < 2; again++) {
        begin(file, first, count);
        for (int b = first; b < first + count; b++)
            compose(map + b * (BLOCK / 8), notes->begun[file][b], file, b);
        end(file, first, count);
        usleep(2000);
    }
    munmap(map, BLOCKS * BLOCK);
}

static void renamed_over(int file)
{
    char other[80];
    snprintf(other, sizeof other, "%s.new", names[file]);
    int fd = open_to_write(other, O_CREAT | O_TRUNC);
    begin(file, 0, BLOCKS);
    put_blocks(fd, file, 0, BLOCKS);
    close(fd);
    CHECK(TIMED(rename(other, names[file])) == 0);
    end(file, 0, BLOCKS);
}

/* The file is gone, or short, for a while: how it gets there and back. */
static void away_and_back(int file, int how)
{
    notes->replaced[file]++;
    begin(file, 0, BLOCKS);
    if (how == 0)
        CHECK(TIMED(unlink(names[file])) == 0);
    int fd = open_to_write(names[file], how == 0 ? O_CREAT | O_EXCL : how == 1 ? O_TRUNC : 0);
    if (how == 2)
        CHECK(TIMED(ftruncate(fd, 3 * BLOCK)) == 0);
    put_blocks(fd, file, 0, BLOCKS);
    close(fd);
    end(file, 0, BLOCKS);
    notes->replaced[file]++;
}

static void meddle(int file, unsigned *seed)
{
    int first = rand_r(seed) % BLOCKS, count = 1 + rand_r(seed) % 4;
    if (first + count > BLOCKS)
        count = BLOCKS - first;
    switch (rand_r(seed) % 8) {
    case 0:
        return by_mapping(file, first, count);
    case 1:
        return renamed_over(file);
    case 2:
    case 3:
    case 4:
        return away_and_back(file, rand_r(seed) % 3);
    default:
        return in_place(file, first, count);
    }
}

static int run_meddler(int files, unsigned seed, const char *stop)
{
    int first = (int)seed % 2;
    for (int file = first; file < files; file += 2)
        renamed_over(file);
    while (access(stop, F_OK) != 0) {
        int file = first + 2 * (rand_r(&seed) % (files / 2));
        meddle(file, &seed);
        usleep((useconds_t)(rand_r(&seed) % 500) * 1000);
    }
    printf("calls %ld slowest_us %.0f in %.60s\n", calls, slowest * 1e6, slowest_call);
    return 0;
}

/* Reads one block and checks every word of it. 0: nothing was there, and nothing had to be. */
static int look(int fd, int file, int block, uint32_t least)
{
    uint64_t bytes[BLOCK / 8];
    uint32_t away = notes->replaced[file], done = notes->done[file][block];
    ssize_t got = pread(fd, bytes, BLOCK, (off_t)block * BLOCK);
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    uint32_t begun = notes->begun[file][block];
    /* A file that has lost its name keeps what it held when it was opened, or younger. */
    if (st.st_nlink == 0 || notes->replaced[file] != away || away % 2 != 0 || done < least)
        done = least;
    int may_be_short = away % 2 != 0 || notes->replaced[file] != away || st.st_nlink == 0;
    if (got != BLOCK) {
        if (!may_be_short) {
            printf("file %d block %d: read %zd, errno %d\n", file, block, got, errno);
            exit(1);
        }
        return 0;
    }
    for (int n = 0; n < BLOCK / 8; n++) {
        uint32_t generation = (uint32_t)(bytes[n] >> 32);
        if (bytes[n] == 0 && may_be_short)
            continue;
        if (bytes[n] != word(generation, file, block, n) || generation < done ||
            generation > begun) {
            printf("file %d block %d word %d: %016lx, generations %u to %u\n", file, block, n,
                   (unsigned long)bytes[n], done, begun);
            exit(1);
        }
    }
    return 1;
}

static int run_watcher(int files, unsigned seed, const char *stop)
{
    long reads = 0;
    while (access(stop, F_OK) != 0) {
        int file = rand_r(&seed) % files;
        uint32_t least[BLOCKS], away = notes->replaced[file];
        for (int b = 0; b < BLOCKS; b++)
            least[b] = notes->done[file][b];
        int fd = open(names[file], O_RDONLY);
        if (fd < 0) {
            CHECK(errno == ENOENT && (away % 2 != 0 || notes->replaced[file] != away));
            continue;
        }
        for (int n = rand_r(&seed) % 200; n >= 0; n--) {
            int block = rand_r(&seed) % BLOCKS;
            reads += look(fd, file, block, least[block]);
        }
        /* A descriptor kept for a while is looked through again. */
        usleep((useconds_t)(rand_r(&seed) % 20) * 1000);
        for (int b = 0; b < BLOCKS; b++)
            reads += look(fd, file, b, least[b]);
        close(fd);
    }
    printf("right %ld\n", reads);
    return 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 6);
    int files = atoi(argv[3]), is_meddler = strcmp(argv[1], "meddle") == 0;
    CHECK(files > 1 && files <= FILES_MAX && chdir(argv[2]) == 0);
    /* Made by the test, with zeros. The watcher maps it for reading only: what it maps for writing
     * would be left alone, and this is no file that is to be served. */
    int fd = open("notes", is_meddler ? O_RDWR : O_RDONLY);
    CHECK(fd >= 0);
    int prot = is_meddler ? PROT_READ | PROT_WRITE : PROT_READ;
    notes = mmap(NULL, sizeof *notes, prot, MAP_SHARED, fd, 0);
    CHECK(notes != MAP_FAILED);
    for (int file = 0; file < files; file++)
        snprintf(names[file], sizeof names[file], "file-%d", file);
    unsigned seed = (unsigned)atoi(argv[4]);
    return is_meddler ? run_meddler(files, seed, argv[5]) : run_watcher(files, seed, argv[5]);
}
