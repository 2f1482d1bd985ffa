/* Receives orders at 0.0.2.1, looks at each where it lies, and answers its sender. */
#include <ramgrid_bus.h>
#include <stdio.h>
#include <stdlib.h>

static void must(int status, const char *what)
{
    if (status == RG_BUS_OK)
        return;
    fprintf(stderr, "receiver: %s: %s (%s)\n", what, rg_bus_error_string(status), rg_bus_last_error());
    exit(1);
}

int main(int argc, char **argv)
{
    rg_bus *bus;
    rg_bus_endpoint *me;
    uint32_t here;

    must(rg_bus_open(argc > 1 ? argv[1] : "default", &bus), "open");
    must(rg_bus_address(bus, "0.0.2.1", &here), "address");
    must(rg_bus_bind(bus, here, RG_BUS_BOTH, &me), "bind");

    for (int nth = 1; nth <= 10; nth++) {
        const void *order;
        size_t length;
        rg_bus_message message;

        must(rg_bus_peek(me, &order, &length, &message, 5000), "peek");
        printf("number %llu%s: %.*s\n", (unsigned long long)message.seq,
               message.is_redelivered ? " (again)" : "", (int)length, (const char *)order);
        must(rg_bus_answer(me, "taken", 5, 5000), "answer");
        must(rg_bus_delete(me), "delete");
    }
    rg_bus_unbind(me);
    rg_bus_close(bus);
    return 0;
}
