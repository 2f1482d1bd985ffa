/* ramgrid_bus.h: message channels in shared memory, for C.
 *
 * Made by cbindgen of bus/c/src: change it there. docs/bus.md tells what the bus promises;
 * examples/bus-c has two programs. Link with -lramgrid_bus.
 *
 * Every function that can fail returns RG_BUS_OK (0) or a negative rg_bus_status. An endpoint belongs
 * to one thread at a time; a call that finds it in use says RG_BUS_BUSY, also from a signal handler.
 */

#ifndef RAMGRID_BUS_H
#define RAMGRID_BUS_H

#include <stddef.h>
#include <stdint.h>

// What a call answers. Values never change; new ones may come.
typedef enum rg_bus_status {
  // Done.
  RG_BUS_OK = 0,
  // No room in the time given: the receiver is behind, or not there.
  RG_BUS_FULL = -1,
  // No message in the time given.
  RG_BUS_EMPTY = -2,
  // Nobody made a channel for this address or pair.
  RG_BUS_NO_CHANNEL = -3,
  // A living process has this end bound; rg_bus_last_error names it.
  RG_BUS_BOUND = -4,
  // Not an address of this bus, or not a template.
  RG_BUS_BAD_ADDRESS = -5,
  // The message can never fit this channel.
  RG_BUS_TOO_LARGE = -6,
  // The buffer is too small; the message stays, and its length was stored.
  RG_BUS_BUFFER_TOO_SMALL = -7,
  // Messages were lost to damage; rg_bus_last_error tells how many. Receive again.
  RG_BUS_DAMAGED = -8,
  // The file is of another version, or no channel.
  RG_BUS_NOT_A_CHANNEL = -9,
  // The channel was removed.
  RG_BUS_REMOVED = -10,
  // The process was forked since it bound.
  RG_BUS_FORKED = -11,
  // The endpoint is in use by another thread, or by what a signal interrupted.
  RG_BUS_BUSY = -12,
  // A null pointer, or a text that is none.
  RG_BUS_INVALID = -13,
  // Too many channels or stations, or no route to go back.
  RG_BUS_LIMIT = -14,
  // The kernel refused; rg_bus_last_error tells what.
  RG_BUS_SYSTEM = -15,
  // A bug in this library.
  RG_BUS_INTERNAL = -16,
} rg_bus_status;

// What a process wants of an address.
typedef enum rg_bus_role {
  // To send and to receive.
  RG_BUS_BOTH = 0,
  // To send only: another process may receive.
  RG_BUS_SEND = 1,
  // To receive only: another process may send.
  RG_BUS_RECEIVE = 2,
} rg_bus_role;

// A bus.
typedef struct rg_bus rg_bus;

// A bound address.
typedef struct rg_bus_endpoint rg_bus_endpoint;

// A part of a message.
typedef struct rg_bus_part {
  // Where it lies.
  const void *data;
  // Its bytes.
  size_t length;
} rg_bus_part;

// What came with a message.
typedef struct rg_bus_message {
  // Who sent it.
  uint32_t source;
  // Who receives it.
  uint32_t destination;
  // Its number in the channel, from 1 without gaps.
  uint64_t seq;
  // When it was sent, in nanoseconds since 1970; 0: not noted.
  uint64_t sent_ns;
  // 1: it may have been handed out before, to a receiver that died.
  uint8_t is_redelivered;
  // 1: a tool wrote it, to try the channel.
  uint8_t is_test;
  // 1: an answer on its way back along a route.
  uint8_t is_backward;
  // Zero.
  uint8_t reserved[5];
} rg_bus_message;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What a status means, in one line. Never null; lives for ever.
const char *rg_bus_error_string(int status);

// The words of the last error of this thread, with names and numbers. Lives until the next error.
const char *rg_bus_last_error(void);

// Opens the bus of this name, or, where the name has a slash, in this directory.
//
// # Safety
//
// `name` is a text; `out` has room for a pointer.
int rg_bus_open(const char *name, struct rg_bus **out);

// Closes a bus. Endpoints bound on it stay. Null is nothing.
//
// # Safety
//
// `bus` came from `rg_bus_open` and is not used any more.
void rg_bus_close(struct rg_bus *bus);

// Reads an address, such as 0.0.1.1, as this bus writes them.
//
// # Safety
//
// `bus` is open; `address` is a text; `out` has room for one.
int rg_bus_address(const struct rg_bus *bus, const char *address, uint32_t *out);

// Binds an address: every channel that ends in it.
//
// # Safety
//
// `bus` is open; `out` has room for a pointer.
int rg_bus_bind(const struct rg_bus *bus, uint32_t address, int role, struct rg_bus_endpoint **out);

// Acknowledges everything received and gives the address up. (A process that ends without it gets
// its last message again, marked.) Null is nothing.
//
// # Safety
//
// `endpoint` came from `rg_bus_bind` and is not used any more.
void rg_bus_unbind(struct rg_bus_endpoint *endpoint);

// Sends a message, waiting at most so many milliseconds for room (0: not at all, negative: for
// ever).
//
// # Safety
//
// `endpoint` is bound; `length` bytes lie at `data`.
int rg_bus_send(struct rg_bus_endpoint *endpoint,
                uint32_t to,
                const void *data,
                size_t length,
                int64_t wait_ms);

// Sends one message that lies in parts, at most 64.
//
// # Safety
//
// `endpoint` is bound; `count` parts lie at `parts`, each as it says.
int rg_bus_sendv(struct rg_bus_endpoint *endpoint,
                 uint32_t to,
                 const struct rg_bus_part *parts,
                 size_t count,
                 int64_t wait_ms);

// Sends to every channel of the address, without waiting; stores how many took it and how many
// were full.
//
// # Safety
//
// `endpoint` is bound; `length` bytes lie at `data`; `sent` and `full` are null or have room.
int rg_bus_broadcast(struct rg_bus_endpoint *endpoint,
                     const void *data,
                     size_t length,
                     size_t *sent,
                     size_t *full);

// Receives a message into a buffer. `length` holds the room and then the bytes of the message,
// also if it did not fit. The next receive acknowledges it.
//
// # Safety
//
// `endpoint` is bound; `*length` bytes have room at `buffer`; `message` is null or has room.
int rg_bus_recv(struct rg_bus_endpoint *endpoint,
                void *buffer,
                size_t *length,
                struct rg_bus_message *message,
                int64_t wait_ms);

// Gives the next message where it lies, the same one until `rg_bus_delete` or `rg_bus_recv` takes
// it. It stays readable until then.
//
// # Safety
//
// `endpoint` is bound; `data` and `length` have room; `message` is null or has room.
int rg_bus_peek(struct rg_bus_endpoint *endpoint,
                const void **data,
                size_t *length,
                struct rg_bus_message *message,
                int64_t wait_ms);

// Acknowledges everything received: a message that was peeked at is gone, one that was received
// will not come again.
//
// # Safety
//
// `endpoint` is bound.
int rg_bus_delete(struct rg_bus_endpoint *endpoint);

// Sends the message received last on to another address, noting where it came from.
//
// # Safety
//
// `endpoint` is bound.
int rg_bus_forward(struct rg_bus_endpoint *endpoint, uint32_t to, int64_t wait_ms);

// Answers the message received last: to its source, and on along the route it came by.
//
// # Safety
//
// `endpoint` is bound; `length` bytes lie at `data`.
int rg_bus_answer(struct rg_bus_endpoint *endpoint,
                  const void *data,
                  size_t length,
                  int64_t wait_ms);

// Sends an answer received last one step back along its route.
//
// # Safety
//
// `endpoint` is bound.
int rg_bus_backward(struct rg_bus_endpoint *endpoint, int64_t wait_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RAMGRID_BUS_H */
