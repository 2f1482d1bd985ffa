/* Runs a command under a seccomp filter that answers EPERM or ENOSYS to every call that is newer
 * than Linux 4.4, as container runtimes and old kernels do.
 *
 * usage: confine EPERM|ENOSYS all|but-needed CMD [ARG]...
 * Needed are statx and preadv2: without them nothing is served. Process descriptors are refused in
 * every way, also that of asking a socket for its peer's.
 */
#include "zoo.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define CLONE3 435
/* From here on every architecture has the same numbers: pidfd_send_signal, io_uring, close_range,
 * openat2, faccessat2, cachestat and what may come. */
#define FIRST_NEW 424
#define LAST_NEW 600

static const int newer[] = {SYS_pwritev2, SYS_copy_file_range, SYS_pidfd_open, SYS_statx,
                            SYS_preadv2};
static const int needed = 2;
#define PEERPIDFD 77

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int refusal = strcmp(argv[1], "EPERM") == 0 ? EPERM : ENOSYS;
    int count = 5 - (strcmp(argv[2], "but-needed") == 0 ? needed : 0);
    struct sock_filter rules[32] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        /* glibc has another clone to turn to only where this one is missing. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLONE3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_NEW, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_NEW, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal),
    };
    int length = 7;
    for (int n = 0; n < count; n++) {
        rules[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, newer[n], 0, 1);
        rules[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal);
    }
    const struct sock_filter rest[] = {
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PEERPIDFD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    memcpy(rules + length, rest, sizeof rest);
    length += sizeof rest / sizeof rest[0];
    struct sock_fprog program = {(unsigned short)length, rules};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    errno = 0;
    CHECK(syscall(SYS_pidfd_open, getpid(), 0) == -1 && errno == refusal);
    CHECK(syscall(SYS_copy_file_range, -1, NULL, -1, NULL, 0, 0) == -1 && errno == refusal);
    execvp(argv[3], argv + 3);
    return 127;
}
