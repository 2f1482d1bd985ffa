/* stdio writes inside libc; another descriptor must see what was flushed. */
#include "../zoo.h"

int main(int argc, char **argv)
{
    settle_in(argc, argv);
    open_warm();
    int reader = make("stream.dat", 8, 1);
    CHECK(holds_all(reader, 8, 1, 3));
    FILE *stream = fopen(in_dir("stream.dat"), "r+");
    CHECK(stream);
    unsigned char bytes[BLOCK];
    for (uint64_t version = 2; version < 30; version++) {
        const uint64_t at = (version % 8) * BLOCK;
        fill(bytes, BLOCK, at, version);
        CHECK(fseek(stream, (long)at, SEEK_SET) == 0);
        CHECK(fwrite(bytes, 1, BLOCK, stream) == BLOCK && fflush(stream) == 0);
        CHECK(holds(reader, at, BLOCK, version));
    }
    rewind(stream);
    CHECK(fputc('!', stream) == '!' && fclose(stream) == 0);
    CHECK(pread(reader, bytes, 1, 0) == 1 && bytes[0] == '!');
    puts("closing flushed");

    int second = open(in_dir("stream.dat"), O_RDWR);
    CHECK(second >= 0);
    stream = fdopen(second, "r+");
    CHECK(stream && fprintf(stream, "printed") == 7 && fflush(stream) == 0);
    CHECK(pread(reader, bytes, 7, 0) == 7 && memcmp(bytes, "printed", 7) == 0);
    CHECK(freopen(in_dir("stream.dat"), "w", stream));
    SAY(pread(reader, bytes, 1, 0));
    CHECK(fputs("new", stream) >= 0 && fclose(stream) == 0);
    SAY(pread(reader, bytes, sizeof bytes, 0));
    CHECK(memcmp(bytes, "new", 3) == 0);
    put(reader, 0, BLOCK, 40);
    CHECK(holds(reader, 0, BLOCK, 40));
    stream = fopen(in_dir("stream.dat"), "a");
    CHECK(stream && fputs("tail", stream) >= 0 && fclose(stream) == 0);
    CHECK(pread(reader, bytes, 10, BLOCK) == 4 && memcmp(bytes, "tail", 4) == 0);
    puts("appended");
    return 0;
}
