/* pread is a cancellation point: a thread that does nothing else can still be cancelled. */
#include "../zoo.h"

static int fd;

static void cleaned(void *flag)
{
    *(int *)flag = 1;
}

static void *forever(void *flag)
{
    static __thread unsigned char bytes[BLOCK];
    pthread_cleanup_push(cleaned, flag);
    for (int n = 0;; n = (n + 1) % WARM_BLOCKS)
        if (pread(fd, bytes, BLOCK, n * BLOCK) != BLOCK)
            break;
    pthread_cleanup_pop(0);
    return NULL;
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    fd = open_warm();
    for (int n = 0; n < 30; n++) {
        pthread_t thread;
        int flag = 0;
        void *answer = NULL;
        CHECK(pthread_create(&thread, NULL, forever, &flag) == 0);
        usleep(2000);
        CHECK(pthread_cancel(thread) == 0);
        CHECK(pthread_join(thread, &answer) == 0);
        CHECK(answer == PTHREAD_CANCELED && flag == 1);
    }
    puts("30 threads cancelled in pread");
    int own = make("own.dat", 4, 6);
    put(own, 0, BLOCK, 7);
    CHECK(holds(own, 0, BLOCK, 7) && holds_all(fd, WARM_BLOCKS, 0, 2));
    return 0;
}
