/* As many readers as there are, of one FILE at once: each compares what pread gives with what the
 * kernel gives, until STOP exists.
 *
 * usage: crowd FILE STOP READERS
 */
#include "zoo.h"

static void compare(int fd)
{
    static unsigned char hooked[BLOCK], bare[BLOCK];
    for (off_t at = 0;; at += BLOCK) {
        ssize_t got = pread(fd, hooked, BLOCK, at);
        CHECK(got == syscall(SYS_pread64, fd, bare, BLOCK, at));
        CHECK(got >= 0 && memcmp(hooked, bare, (size_t)got) == 0);
        if (got == 0)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int readers = atoi(argv[3]), right = 0, status;
    for (int n = 0; n < readers; n++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
            CHECK(fd >= 0);
            do {
                compare(fd);
                usleep(50000);
            } while (access(argv[2], F_OK) != 0);
            _exit(0);
        }
    }
    while (wait(&status) > 0)
        right += status == 0;
    printf("%d of %d readers saw the file as it is\n", right, readers);
    return 0;
}
