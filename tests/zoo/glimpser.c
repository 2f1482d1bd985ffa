/* What a server without sendfile does with small files: opens one, reads it by one call, closes it.
 * Each is thrown out of the page cache afterwards, so that the next read comes off the device.
 *
 * usage: glimpser DIR FILES STOP
 * Makes FILES files in DIR, reads each again and again until STOP exists, and says "right".
 */
#include "zoo.h"

#define BYTES (16 * BLOCK)

static unsigned char right[BYTES], got[BYTES];

static void compose(int n)
{
    for (int at = 0; at < BYTES; at++)
        right[at] = (unsigned char)(n * 31 + at / 512 + at);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4 && chdir(argv[1]) == 0);
    int files = atoi(argv[2]);
    char name[32];
    for (int n = 0; n < files; n++) {
        compose(n);
        snprintf(name, sizeof name, "glimpse-%d", n);
        int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        CHECK(fd >= 0 && write(fd, right, BYTES) == BYTES && fsync(fd) == 0 && close(fd) == 0);
    }
    while (access(argv[3], F_OK) != 0) {
        for (int n = 0; n < files; n++) {
            compose(n);
            snprintf(name, sizeof name, "glimpse-%d", n);
            int fd = open(name, O_RDONLY);
            CHECK(fd >= 0 && pread(fd, got, BYTES, 0) == BYTES);
            CHECK(memcmp(got, right, BYTES) == 0);
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            CHECK(close(fd) == 0);
        }
        usleep(300000);
    }
    printf("right\n");
    return 0;
}
