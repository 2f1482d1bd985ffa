/* Rewrites random blocks of FILE by pwrite, for ever: it is there to be killed.
 *
 * usage: scrubber FILE BLOCKS SEED
 */
#include "zoo.h"

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int fd = open(argv[1], O_RDWR | O_CLOEXEC), blocks = atoi(argv[2]);
    unsigned dice = (unsigned)atoi(argv[3]);
    static unsigned char bytes[2 * BLOCK];
    if (fd < 0)
        return 3;
    for (;;) {
        off_t at = (off_t)(rand_r(&dice) % blocks) * BLOCK;
        memset(bytes, rand_r(&dice), sizeof bytes);
        if (pwrite(fd, bytes, BLOCK, at) != BLOCK || pread(fd, bytes, BLOCK, at) != BLOCK)
            return 4;
    }
}
