/* sendfile to sockets of every kind: full ones, closed ones, with offsets good and bad. */
#include "../zoo.h"
#include <netinet/in.h>
#include <netinet/tcp.h>

#define ODD 7777
static unsigned char bytes[WARM_BLOCKS * BLOCK + ODD];
static int pipes_broken;

static void broken(int unused)
{
    (void)unused;
    pipes_broken++;
}

struct reader {
    int from;
    size_t count;
};

static void *swallow(void *told)
{
    struct reader *reader = told;
    CHECK(recv(reader->from, bytes, reader->count, MSG_WAITALL) == (ssize_t)reader->count);
    return NULL;
}

static void tcp_pair(int *ends)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&at, len) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(ends[0], (struct sockaddr *)&at, len) == 0);
    ends[1] = accept(listener, NULL, NULL);
    CHECK(ends[1] >= 0);
    close(listener);
}

/* A blocking socket takes all that was asked for, whoever sent which part. */
static void whole(int to, int from, int fd, off_t at, size_t count, size_t there)
{
    pthread_t thread;
    struct reader reader = {from, there};
    memset(bytes, 0xEE, there);
    CHECK(pthread_create(&thread, NULL, swallow, &reader) == 0);
    off_t offset = at;
    CHECK(sendfile(to, fd, &offset, count) == (ssize_t)there && offset == at + (off_t)there);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(is(bytes, there, (uint64_t)at, 0));
}

static void blocking(int warm, int odd)
{
    int unix_pair[2], pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair) == 0);
    tcp_pair(pair);
    for (int round = 0; round < 4; round++) {
        int *ends = round % 2 ? pair : unix_pair;
        whole(ends[0], ends[1], warm, 0, WARM_BLOCKS * BLOCK, WARM_BLOCKS * BLOCK);
        whole(ends[0], ends[1], warm, 5 * BLOCK, 7 * BLOCK, 7 * BLOCK);
        whole(ends[0], ends[1], warm, 12345, 23456, 23456);
        whole(ends[0], ends[1], warm, (WARM_BLOCKS - 3) * BLOCK, 9 * BLOCK, 3 * BLOCK);
        whole(ends[0], ends[1], odd, 0, 3 * BLOCK + ODD, 3 * BLOCK + ODD);
        whole(ends[0], ends[1], odd, 3 * BLOCK + 1, INT_MAX, ODD - 1);
        whole(ends[0], ends[1], odd, 3 * BLOCK + ODD - 3, 3, 3);
    }
    puts("blocking sockets took it all");
}

/* A full socket: what was returned is what the other side gets, and the offset says so. */
static void full(int *ends, int fd)
{
    int room = 16384;
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0);
    CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    static unsigned char got[sizeof bytes];
    off_t at = 0;
    size_t have = 0;
    int again = 0, turns = 0;
    while (have < WARM_BLOCKS * BLOCK) {
        CHECK(turns++ < 1000000);
        off_t before = at;
        ssize_t sent = sendfile(ends[0], fd, &at, WARM_BLOCKS * BLOCK - at);
        if (sent < 0) {
            CHECK(errno == EAGAIN && at == before);
            again++;
        } else {
            CHECK(at == before + sent);
        }
        if (sent > 0)
            continue;
        ssize_t part = recv(ends[1], got + have, 50000, 0);
        CHECK(part > 0 || errno == EAGAIN);
        have += part > 0 ? (size_t)part : 0;
    }
    CHECK(is(got, have, 0, 0) && at == WARM_BLOCKS * BLOCK);
    printf("a full socket said so: %d\n", again > 0);
}

static void closed(int fd)
{
    int ends[2];
    off_t at = 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    close(ends[1]);
    SAY(sendfile(ends[0], fd, &at, BLOCK));
    printf("SIGPIPE %d, offset %lld\n", pipes_broken, (long long)at);
    tcp_pair(ends);
    CHECK(shutdown(ends[0], SHUT_WR) == 0);
    SAY(sendfile(ends[0], fd, &at, BLOCK));
    printf("SIGPIPE %d, offset %lld\n", pipes_broken, (long long)at);
    int alone = socket(AF_INET, SOCK_STREAM, 0);
    SAY(sendfile(alone, fd, &at, BLOCK));
    alone = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(sendfile(alone, fd, &at, BLOCK));
}

static void odd_calls(int fd)
{
    int ends[2], letters[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, letters) == 0);
    off_t *unmapped = mmap(NULL, BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    off_t *fixed = mmap(NULL, BLOCK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    off_t at = -1;
    SAY(sendfile(ends[0], fd, unmapped, BLOCK));
    SAY(sendfile(ends[0], fd, fixed, BLOCK));
    SAY(sendfile(ends[0], fd, &at, BLOCK));
    at = WARM_BLOCKS * BLOCK;
    SAY(sendfile(ends[0], fd, &at, BLOCK));
    at = 3;
    SAY(sendfile(ends[0], fd, &at, 0));
    SAY(at);
    SAY(sendfile(-1, fd, &at, BLOCK));
    int writer = open(in_dir("warm.dat"), O_WRONLY), path = open(in_dir("warm.dat"), O_PATH);
    SAY(sendfile(ends[0], writer, &at, BLOCK));
    SAY(sendfile(ends[0], path, &at, BLOCK));
    SAY(sendfile(letters[0], fd, &at, 100));
    SAY(recv(letters[1], bytes, sizeof bytes, 0));
    SAY(lseek(fd, BLOCK, SEEK_SET));
    SAY(sendfile(letters[0], fd, NULL, 100));
    SAY(lseek(fd, 0, SEEK_CUR));
    errno = 77;
    at = 0;
    CHECK(sendfile(letters[0], fd, &at, 100) == 100 && errno == 77);
}

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    signal(SIGPIPE, broken);
    int warm = open_warm(), ends[2];
    int odd = make("odd.dat", 3, 0);
    put(odd, 3 * BLOCK, ODD, 0);
    CHECK(holds(odd, 0, 3 * BLOCK + ODD, 0));
    blocking(warm, odd);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    full(ends, warm);
    tcp_pair(ends);
    full(ends, warm);
    closed(warm);
    odd_calls(warm);
    put(odd, BLOCK, BLOCK, 0);
    put(odd, 3 * BLOCK + ODD, 100, 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    whole(ends[0], ends[1], odd, 2 * BLOCK, 2 * BLOCK + ODD, BLOCK + ODD + 100);
    CHECK(ftruncate(odd, 2 * BLOCK + 10) == 0);
    whole(ends[0], ends[1], odd, BLOCK, 2 * BLOCK, BLOCK + 10);
    return 0;
}
