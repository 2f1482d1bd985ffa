/* Sends ten orders from 0.0.1.1 to 0.0.2.1 and waits for each to be answered. */
#include <ramgrid_bus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int status, const char *what)
{
    if (status == RG_BUS_OK)
        return;
    fprintf(stderr, "sender: %s: %s (%s)\n", what, rg_bus_error_string(status), rg_bus_last_error());
    exit(1);
}

int main(int argc, char **argv)
{
    rg_bus *bus;
    rg_bus_endpoint *me;
    uint32_t here, there;

    must(rg_bus_open(argc > 1 ? argv[1] : "default", &bus), "open");
    must(rg_bus_address(bus, "0.0.1.1", &here), "address");
    must(rg_bus_address(bus, "0.0.2.1", &there), "address");
    must(rg_bus_bind(bus, here, RG_BUS_BOTH, &me), "bind");

    for (int nth = 1; nth <= 10; nth++) {
        char order[64], answer[64];
        size_t length = sizeof answer;

        snprintf(order, sizeof order, "order %d", nth);
        must(rg_bus_send(me, there, order, strlen(order), 5000), "send");
        must(rg_bus_recv(me, answer, &length, NULL, 5000), "answer");
        printf("%s: %.*s\n", order, (int)length, answer);
    }
    rg_bus_unbind(me);
    rg_bus_close(bus);
    return 0;
}
