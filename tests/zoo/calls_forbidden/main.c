/* The same filter as in no_calls_left answers EPERM, as container runtimes have it. */
#define REFUSAL EPERM
#include "../no_calls_left/main.c"
