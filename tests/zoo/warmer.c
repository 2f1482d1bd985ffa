/* Reads FILE by pread over and over until STOP exists, then becomes PROGRAM.
 *
 * usage: warmer FILE STOP PROGRAM [ARGUMENT]...
 * The test watches the session's statistics meanwhile and makes STOP when reads are being served.
 */
#include "zoo.h"

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 3;
    static unsigned char bytes[BLOCK];
    do {
        for (off_t at = 0; pread(fd, bytes, sizeof bytes, at) > 0; at += BLOCK)
            ;
        usleep(20000);
    } while (access(argv[2], F_OK) != 0);
    close(fd);
    execv(argv[3], argv + 3);
    return 4;
}
