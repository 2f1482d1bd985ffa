/* POSIX AIO writes from threads of libc's own. */
#include "../zoo.h"
#include <aio.h>

static void finish(struct aiocb *request)
{
    const struct aiocb *list[1] = {request};
    while (aio_error(request) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    CHECK(aio_error(request) == 0 && aio_return(request) == BLOCK);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int fd = make("aio.dat", 16, 1);
    static unsigned char bytes[4][BLOCK];
    CHECK(holds_all(fd, 16, 1, 3));
    for (uint64_t version = 2; version < 30; version++) {
        uint64_t at = (version % 16) * BLOCK;
        fill(bytes[0], BLOCK, at, version);
        struct aiocb one = {.aio_fildes = fd, .aio_buf = bytes[0], .aio_nbytes = BLOCK,
                            .aio_offset = (off_t)at};
        CHECK(aio_write(&one) == 0);
        finish(&one);
        CHECK(holds(fd, at, BLOCK, version));
        memset(bytes[0], 0, BLOCK);
        CHECK(aio_read(&one) == 0);
        finish(&one);
        CHECK(is(bytes[0], BLOCK, at, version));
    }
    struct aiocb many[4], *list[4];
    for (int n = 0; n < 4; n++) {
        fill(bytes[n], BLOCK, (uint64_t)n * BLOCK, 50);
        many[n] = (struct aiocb){.aio_fildes = fd, .aio_buf = bytes[n], .aio_nbytes = BLOCK,
                                 .aio_offset = n * BLOCK, .aio_lio_opcode = LIO_WRITE};
        list[n] = &many[n];
    }
    CHECK(lio_listio(LIO_WAIT, list, 4, NULL) == 0);
    CHECK(holds(fd, 0, 4 * BLOCK, 50));
    puts("what was reaped was seen");
    return 0;
}
