/* Ends of files, odd counts, odd offsets, odd descriptors. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    static unsigned char bytes[2 * BLOCK];
    int warm = open_warm();
    int odd = make("odd.dat", 4, 2);
    CHECK(ftruncate(odd, 3 * BLOCK + 777) == 0);
    CHECK(holds(odd, 3 * BLOCK, 777, 2) && holds(odd, 3 * BLOCK, 777, 2));
    const off_t end = 3 * BLOCK + 777;
    for (int n = 0; n < 3; n++) {
        SAY(pread(odd, bytes, sizeof bytes, end));
        SAY(pread(odd, bytes, sizeof bytes, end + 100000));
        SAY(pread(odd, bytes, sizeof bytes, end - 1));
        SAY(pread(odd, bytes, sizeof bytes, 2 * BLOCK + 5));
        SAY(pread(odd, bytes, 0, 0));
        SAY(pread(odd, bytes, 1, -1));
        SAY(pread(odd, bytes, BLOCK, LLONG_MAX));
        SAY(pread(odd, bytes, BLOCK, LLONG_MIN));
        SAY(pread(warm, bytes, sizeof bytes, (WARM_BLOCKS - 1) * BLOCK));
        SAY(pread(warm, bytes, 1, WARM_BLOCKS * BLOCK - 1));
    }
    unsigned char *large = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(large != MAP_FAILED);
    SAY(pread(warm, large, 1 << 20, 0));
    CHECK(is(large, WARM_BLOCKS * BLOCK, 0, 0));
    SAY(pread(warm, large, SSIZE_MAX, 0));
    SAY(pread(warm, large, SIZE_MAX, 0));
    SAY(pread(warm, large, 0x7ffff000ul, 5));
    CHECK(is(large, WARM_BLOCKS * BLOCK - 5, 5, 0));
    for (size_t count = 1; count < 9000; count += 997)
        for (uint64_t at = 0; at < 9000; at += 1234)
            CHECK(holds(warm, at, count, 0));

    int blind = open(in_dir("odd.dat"), O_WRONLY);
    int nothing = open(in_dir("odd.dat"), O_PATH);
    int directory = open(zoo_dir, O_RDONLY | O_DIRECTORY);
    SAY(pread(blind, bytes, 1, 0));
    SAY(pread(nothing, bytes, 1, 0));
    SAY(pread(directory, bytes, 1, 0));
    SAY(pread(-1, bytes, 1, 0));
    SAY(pread(INT_MAX, bytes, 1, 0));
    SAY(pwrite(warm, bytes, 1, 0));
    SAY(pwrite(odd, bytes, 1, -5));
    SAY(lseek(warm, 0, SEEK_CUR));
    return 0;
}
