/* zoo.h: what every animal of the zoo shares.
 *
 * An animal is a small program that does one hostile thing and says what it saw. It is run natively
 * and hooked, and must print the same lines and exit alike. argv[1] is its scratch directory; in it
 * lies warm.dat, WARM_BLOCKS blocks of pattern version 0, which a hooked run serves from memory by the
 * time the animal starts. Lines must not hold pids, times, addresses or paths.
 */
#ifndef ZOO_H
#define ZOO_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define WARM_BLOCKS 64

#define CHECK(truth)                                                                             \
    do {                                                                                         \
        if (!(truth)) {                                                                          \
            int saved = errno;                                                                   \
            printf("%s:%d: not true: %s (errno %d)\n", __func__, __LINE__, #truth, saved);       \
            fflush(stdout);                                                                      \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

/* Prints what a call returned, and errno where it failed. */
#define SAY(call)                                                                                \
    do {                                                                                         \
        errno = 0;                                                                               \
        long long got = (long long)(call);                                                       \
        if (got < 0)                                                                             \
            printf("%s = %lld, errno %d\n", #call, got, errno);                                  \
        else                                                                                     \
            printf("%s = %lld\n", #call, got);                                                   \
    } while (0)

static char zoo_dir[3000];

__attribute__((unused)) static const char *in_dir(const char *name)
{
    static __thread char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", zoo_dir, name);
    return path;
}

/* The byte at `offset` of pattern `version`. it/zoo.rs writes warm.dat by the same rule. */
__attribute__((unused)) static unsigned char pattern(uint64_t offset, uint64_t version)
{
    return (unsigned char)(offset * 31 + (offset >> 12) * 7 + version * 101);
}

__attribute__((unused)) static void fill(unsigned char *to, size_t count, uint64_t offset,
                                         uint64_t version)
{
    for (size_t i = 0; i < count; i++)
        to[i] = pattern(offset + i, version);
}

/* Writes `count` bytes of pattern `version` at `offset`, by pwrite. */
__attribute__((unused)) static void put(int fd, uint64_t offset, size_t count, uint64_t version)
{
    unsigned char *bytes = malloc(count);
    CHECK(bytes);
    fill(bytes, count, offset, version);
    CHECK(pwrite(fd, bytes, count, (off_t)offset) == (ssize_t)count);
    free(bytes);
}

/* Are these bytes pattern `version`? */
__attribute__((unused)) static int is(const unsigned char *bytes, size_t count, uint64_t offset,
                                      uint64_t version)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != pattern(offset + i, version))
            return 0;
    return 1;
}

/* Reads `count` bytes at `offset` by pread and compares them with pattern `version`. */
__attribute__((unused)) static int holds(int fd, uint64_t offset, size_t count, uint64_t version)
{
    unsigned char *bytes = malloc(count);
    CHECK(bytes);
    memset(bytes, 0xEE, count);
    ssize_t got = pread(fd, bytes, count, (off_t)offset);
    int same = got == (ssize_t)count && is(bytes, count, offset, version);
    free(bytes);
    return same;
}

__attribute__((unused)) static int holds_zeros(int fd, uint64_t offset, size_t count)
{
    unsigned char *bytes = malloc(count);
    CHECK(bytes);
    memset(bytes, 0xEE, count);
    int same = pread(fd, bytes, count, (off_t)offset) == (ssize_t)count;
    for (size_t i = 0; same && i < count; i++)
        same = bytes[i] == 0;
    free(bytes);
    return same;
}

/* Reads the whole of a file of pattern `version`, block by block, `times` times. */
__attribute__((unused)) static int holds_all(int fd, int blocks, uint64_t version, int times)
{
    for (int n = 0; n < times; n++)
        for (int b = 0; b < blocks; b++)
            if (!holds(fd, (uint64_t)b * BLOCK, BLOCK, version))
                return 0;
    return 1;
}

/* Makes a file of pattern `version` and returns it open for reading and writing. */
__attribute__((unused)) static int make(const char *name, int blocks, uint64_t version)
{
    int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    put(fd, 0, (size_t)blocks * BLOCK, version);
    return fd;
}

__attribute__((unused)) static int open_warm(void)
{
    int fd = open(in_dir("warm.dat"), O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(holds_all(fd, WARM_BLOCKS, 0, 1));
    return fd;
}

/* Waits for a child and says how it ended. */
__attribute__((unused)) static void reap(pid_t child, const char *who)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        printf("%s died by signal %d\n", who, WTERMSIG(status));
    else
        printf("%s exited %d\n", who, WEXITSTATUS(status));
}

__attribute__((unused)) static void settle_in(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        exit(2);
    }
    snprintf(zoo_dir, sizeof zoo_dir, "%s", argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

#endif
