/* Leaves calls that change FILE in ways by which they never return, then reads FILE until STOP
 * exists: what was in flight must not keep the file out of service for as long as this lives.
 *
 * usage: deserter FILE STOP
 */
#include "zoo.h"
#include <setjmp.h>

static int fd, silent[2];
static sigjmp_buf way_out;

/* Blocks: nobody ever writes into the pipe. */
static void *block(void *unused)
{
    splice(silent[0], NULL, fd, NULL, BLOCK, 0);
    return unused;
}

static void jump(int signal)
{
    siglongjmp(way_out, signal);
}

int main(int argc, char **argv)
{
    static unsigned char bytes[BLOCK];
    pthread_t thread;
    void *answer = NULL;
    if (argc < 3)
        return 2;
    fd = open(argv[1], O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pipe2(silent, O_CLOEXEC) == 0);
    /* Joins the session before the first call that is left. */
    CHECK(pread(fd, bytes, BLOCK, 0) == BLOCK && pwrite(fd, bytes, BLOCK, 0) == BLOCK);
    for (int n = 0; n < 3; n++) {
        CHECK(pthread_create(&thread, NULL, block, NULL) == 0);
        usleep(20000);
        CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &answer) == 0);
        CHECK(answer == PTHREAD_CANCELED);
        CHECK(signal(SIGALRM, jump) != SIG_ERR);
        if (sigsetjmp(way_out, 1) == 0) {
            ualarm(20000, 0);
            block(NULL);
            CHECK(!"reached");
        }
    }
    puts("deserted");
    fflush(stdout);
    while (access(argv[2], F_OK) != 0)
        for (off_t at = 0; pread(fd, bytes, BLOCK, at) > 0; at += BLOCK)
            ;
    return 0;
}
