/* Files the grid must leave alone: procfs, sysfs, memfd, pipes, devices, tmpfs. */
#include "../zoo.h"
#include <sys/eventfd.h>

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    unsigned char bytes[64], more[64];
    int fd = open("/proc/self/comm", O_RDWR);
    SAY(pread(fd, bytes, sizeof bytes, 0));
    CHECK(write(fd, "renamed", 7) == 7);
    SAY(pread(fd, bytes, sizeof bytes, 0));
    CHECK(memcmp(bytes, "renamed\n", 8) == 0);
    fd = open("/dev/zero", O_RDONLY);
    SAY(pread(fd, bytes, sizeof bytes, 12345));
    fd = open("/dev/urandom", O_RDONLY);
    CHECK(pread(fd, bytes, sizeof bytes, 0) == 64 && pread(fd, more, sizeof more, 0) == 64);
    CHECK(memcmp(bytes, more, sizeof bytes) != 0);
    fd = memfd_create("zoo", 0);
    put(fd, 0, 4 * BLOCK, 1);
    CHECK(holds_all(fd, 4, 1, 2));
    put(fd, BLOCK, BLOCK, 2);
    CHECK(holds(fd, BLOCK, BLOCK, 2));
    fd = eventfd(3, 0);
    SAY(pread(fd, bytes, 8, 0));
    fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
    CHECK(fd >= 0);
    put(fd, 0, 4 * BLOCK, 1);
    unsigned char *at = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED && holds(fd, 0, BLOCK, 1));
    fill(at, BLOCK, 0, 2);
    CHECK(holds(fd, 0, BLOCK, 2));
    puts("left alone");
    return 0;
}
