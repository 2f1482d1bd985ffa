/* A seccomp filter that answers ENOSYS to statx, cachestat, pidfd and other newer calls. */
#include "../zoo.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#ifndef REFUSAL
#define REFUSAL ENOSYS
#endif
#define REFUSE(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | REFUSAL)

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    int warm = open_warm();
    int own = make("own.dat", 16, 1);
    CHECK(holds_all(own, 16, 1, 2));
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(SYS_statx),
        REFUSE(451), /* cachestat */
        REFUSE(SYS_pidfd_open),
        REFUSE(SYS_membarrier),
        REFUSE(SYS_preadv2),
        REFUSE(SYS_memfd_create),
        REFUSE(SYS_getrandom),
        REFUSE(SYS_connect),
        REFUSE(SYS_socket),
        REFUSE(SYS_close_range),
        REFUSE(SYS_openat2),
        REFUSE(439), /* faccessat2 */
        REFUSE(SYS_process_vm_readv),
        REFUSE(SYS_mincore),
        REFUSE(SYS_pwritev2),
        REFUSE(SYS_copy_file_range),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    CHECK(holds_all(warm, WARM_BLOCKS, 0, 5));
    for (uint64_t version = 2; version < 20; version++) {
        put(own, (version % 16) * BLOCK, BLOCK, version);
        CHECK(holds(own, (version % 16) * BLOCK, BLOCK, version));
    }
    pid_t child = fork();
    if (child == 0) {
        int again = open_warm();
        CHECK(holds_all(again, WARM_BLOCKS, 0, 3));
        _exit(0);
    }
    reap(child, "a confined child");
    return 0;
}
